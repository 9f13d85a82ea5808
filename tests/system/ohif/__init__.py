"""Tests of the extension for the OHIF viewer: real viewers of npm's @ohif/app in a real Chromium, and a real server."""
