package namesvc

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
)

// RootList is the body of a roots op: all root keys that the account is to
// have, strongest first, and the hash of the root 0 that will follow.
type RootList struct {
	_        struct{} `cbor:",toarray"`
	Roots    []key.Public
	NextRoot []byte
}

// checkRoots checks the form of a list of root keys.
func checkRoots(roots []key.Public, nextRoot []byte) error {
	if len(roots) == 0 || len(roots) > MaxRoots {
		return fmt.Errorf("an account has 1 to %d root keys", MaxRoots)
	}
	for i, r := range roots {
		if err := r.Check(); err != nil {
			return fmt.Errorf("root key %d: %w", i, err)
		}
		if slices.Contains(roots[:i], r) {
			return fmt.Errorf("root key %d is listed twice", i)
		}
		if announced(nextRoot, r) {
			return fmt.Errorf("root key %d is also announced as the next", i)
		}
	}
	return nil
}

// announced reports whether nextRoot is k's hash: k is the root 0 to come.
func announced(nextRoot []byte, k key.Public) bool {
	h := k.NextHash()
	return bytes.Equal(h[:], nextRoot)
}

// setRoots replaces root keys. A root key may change only those below it and
// itself, so a lower one, which may live on a machine that is stolen, never
// evicts a higher one. Root 0 itself gives way only to the key that was
// announced beforehand, which must sign, and must announce its own successor.
func (l *law) setRoots(e *Entry, by authority, r RootList) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "root keys are changed by root keys")
	case !hashOrEmpty(r.NextRoot):
		return reject(BadNextRoot, "its hash must have 32 bytes or none")
	}
	if err := checkRoots(r.Roots, r.NextRoot); err != nil {
		return reject(BadRoots, "%v", err)
	}
	sameNext := bytes.Equal(r.NextRoot, e.NextRoot)
	if sameNext && slices.Equal(r.Roots, e.Roots) {
		return reject(BadRoots, "nothing changes")
	}
	list, err := l.devices(e)
	if err != nil {
		return err
	}
	for _, d := range list.List {
		if slices.Contains(r.Roots, d.Key) || announced(r.NextRoot, d.Key) {
			return reject(BadRoots, "a device key cannot be a root key")
		}
	}
	if r.Roots[0] != e.Roots[0] {
		switch {
		case by.rank != next || by.key != r.Roots[0]:
			return reject(BadNextRoot, "")
		case sameNext || len(r.NextRoot) == 0:
			return reject(BadNextRoot, "the announcement must be a new one")
		}
		e.Roots, e.NextRoot = r.Roots, r.NextRoot
		return nil
	}
	rank := max(by.rank, 0)
	// An account that never announced a successor may do so once; afterwards
	// only the successor itself can change the announcement, or a thief of
	// root 0 could announce a key of his own.
	if !sameNext && (rank != 0 || len(e.NextRoot) != 0) {
		return reject(BadNextRoot, "the announcement changes only with root key 0")
	}
	if len(r.Roots) < rank || !slices.Equal(r.Roots[:rank], e.Roots[:rank]) {
		return reject(RootOutranked, "the signer has rank %d", rank)
	}
	e.Roots, e.NextRoot = r.Roots, r.NextRoot
	return nil
}
