//go:build unix && !aix

package keyring

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockOutlives says whether a lock can be left behind by a crash.
const lockOutlives = false

// hold takes the folder's lock, the file at path, without waiting. The system
// gives it back when the process ends, however it ends. It returns errHeld if
// another process has it.
func hold(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		return func() error {
			// A process that is being started has a copy of the file for a moment, with
			// which the lock would outlive the closing of ours.
			return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
		}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errHeld
	}
	return nil, &os.PathError{Op: "lock", Path: path, Err: err}
}
