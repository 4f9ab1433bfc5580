"""What a network does, as arrays: cost, routing, scan, receptive field. Pictures of them are in `plots`."""
