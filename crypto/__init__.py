"""Digests, canonical encoding, signing keys, key files, TLS identities; imports no other package of ours."""
