//go:build !unix

package keyring

// syncFolder does nothing: these systems give a program no way to sync a
// folder, and keep the order of a sync and a rename by themselves or not at all.
func syncFolder(string) error { return nil }
