//go:build (!unix || aix) && !windows

package keyring

import (
	"errors"
	"io/fs"
	"os"
)

// lockOutlives says whether a lock can be left behind by a crash.
const lockOutlives = true

// hold takes the folder's lock by making the file at path, which nobody else can
// make while it is there. After a crash it stays, and a person has to delete it:
// these systems have no lock that ends with its process.
func hold(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, errHeld
	}
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(f.Close(), os.Remove(path)) }, nil
}
