//go:build !unix

package ratchet

// sync does nothing: these systems give a program no way to sync a folder.
func (d disk) sync() error { return nil }

// isFull cannot tell here; the error's own text says it.
func isFull(error) bool { return false }
