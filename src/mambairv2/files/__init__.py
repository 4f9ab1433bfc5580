"""Files: written whole or not at all, on this machine and in remote stores."""
