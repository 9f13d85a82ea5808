"""Makes what a machine without internet needs: the packages, and the bundle with the installer around them."""
