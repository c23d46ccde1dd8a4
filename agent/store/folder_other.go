//go:build !unix

package store

// syncFolder does nothing: these systems give a program no way to sync a folder.
func syncFolder(string) error { return nil }
