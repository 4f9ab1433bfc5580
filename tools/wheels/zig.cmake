# Compiles for another system by zig's C++ compiler, which brings the headers and libraries of each.
# ZIG: its executable. ZIG_TARGET: processor, system and the oldest version of it, such as aarch64-linux-gnu.2.17.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET)
set(CMAKE_CXX_COMPILER "${ZIG}" c++ -target ${ZIG_TARGET})

string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${ZIG_TARGET}")
if(ZIG_TARGET MATCHES "-linux-")
  set(CMAKE_SYSTEM_NAME Linux)
elseif(ZIG_TARGET MATCHES "-macos")
  set(CMAKE_SYSTEM_NAME Darwin)
elseif(ZIG_TARGET MATCHES "-windows-")
  set(CMAKE_SYSTEM_NAME Windows)
else()
  message(FATAL_ERROR "ZIG_TARGET is ${ZIG_TARGET}; it must name linux, macos or windows")
endif()

# No paths of this machine and no symbols but the exported ones: the same source gives the same bytes anywhere.
set(CMAKE_CXX_FLAGS_INIT "-g0 -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.")
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
