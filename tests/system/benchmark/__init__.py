"""The benchmark works and notices when it is lied to; how fast anything is, no test judges."""
