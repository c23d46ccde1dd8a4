package namesvc

import "fmt"

// Status is how alive a handle is.
type Status uint8

// The statuses.
const (
	Active  Status = 1
	Dormant Status = 2 // not renewed in time; it still resolves, with a warning
	Retired Status = 3 // given back or lapsed; it does not resolve
)

// String returns the status's name.
func (s Status) String() string {
	switch s {
	case Active:
		return "active"
	case Dormant:
		return "dormant"
	case Retired:
		return "retired"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// status evaluates a handle's leaf with its owner's entry at time now, and
// returns since when it is so (0 for active).
func (l HandleLeaf) status(owner Entry, now uint64) (Status, uint64) {
	if l.Released != 0 {
		return Retired, l.Released
	}
	if p := owner.Pending; p != nil && p.Handle == l.Handle && now >= p.Effective {
		return Retired, p.Effective
	}
	switch {
	case now >= owner.Lapses:
		return Retired, owner.Lapses
	case now >= owner.Expires:
		return Dormant, owner.Expires
	}
	return Active, 0
}

// Meaning is what a handle means at a time.
type Meaning struct {
	Handle     Handle
	Generation uint32 // of the lease
	Status     Status // Active or Dormant
	Entry      Entry  // as of that time
}

// NotFoundError says that nobody holds a handle.
type NotFoundError struct {
	Handle  Handle
	Retired bool   // it was held once, in this very spelling
	Last    uint32 // generation of the skeleton's last lease, 0 if there was none
}

func (e *NotFoundError) Error() string {
	if e.Retired {
		return fmt.Sprintf("%v is retired: its last owner gave it up or let it lapse", e.Handle)
	}
	return fmt.Sprintf("%v is not registered", e.Handle)
}

// ConfusableError says that a handle was asked for that is not registered but
// looks like one that is. It is never resolved: that would make the look-alike
// work.
type ConfusableError struct {
	Asked, Owner Handle
}

func (e *ConfusableError) Error() string {
	return fmt.Sprintf("%v is not registered, and nobody can register it because it looks like %v; did you mean %v?", e.Asked, e.Owner, e.Owner)
}

// Interpret says what h means at time now (seconds), given the leaf of its
// skeleton and the entry that the leaf names, both proven against one root; nil
// for a leaf proven absent. Errors are *NotFoundError, *ConfusableError, or say
// that the two do not belong together.
func Interpret(h Handle, leaf *HandleLeaf, owner *Entry, now uint64) (Meaning, error) {
	if leaf == nil {
		return Meaning{}, &NotFoundError{Handle: h}
	}
	if leaf.Handle.Skeleton() != h.Skeleton() {
		return Meaning{}, fmt.Errorf("the leaf is that of %v, not of %v", leaf.Handle, h)
	}
	if owner == nil || owner.Account != leaf.Account {
		return Meaning{}, fmt.Errorf("the entry is not that of %v's account", leaf.Handle)
	}
	status, _ := leaf.status(*owner, now)
	switch {
	case status == Retired:
		return Meaning{}, &NotFoundError{Handle: h, Retired: leaf.Handle == h, Last: leaf.Generation}
	case leaf.Handle != h:
		return Meaning{}, &ConfusableError{Asked: h, Owner: leaf.Handle}
	}
	e := owner.At(now)
	lease, ok := e.Holds(h)
	if !ok || lease.Generation != leaf.Generation {
		return Meaning{}, fmt.Errorf("the entry does not hold %v, although the leaf says so", h)
	}
	return Meaning{Handle: h, Generation: lease.Generation, Status: status, Entry: e}, nil
}
