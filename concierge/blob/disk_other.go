//go:build !unix

package blob

import (
	"math"
	"os"
)

// lock does nothing: here one process has the folder, and its own locks do.
func lock(*os.File, bool) error { return nil }

// freeBytes is not known here: writes fail when the disk is full.
func freeBytes(string) (uint64, error) { return math.MaxUint64, nil }

func diskError(err error) error { return err }

// syncDir is left to the file system.
func syncDir(string) error { return nil }
