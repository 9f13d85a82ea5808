"""Nodes of a cluster on a fake etcd, under one seed: with a network that loses and repeats, pauses, kills and cuts."""
