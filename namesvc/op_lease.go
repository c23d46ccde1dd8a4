package namesvc

// Renewal is the body of a renew op. It says nothing: the signature is enough.
type Renewal struct {
	_ struct{} `cbor:",toarray"`
}

// Release is the body of a release op.
type Release struct {
	_      struct{} `cbor:",toarray"`
	Handle Handle
}

// Cancel is the body of a cancel op: it undoes a pending change.
type Cancel struct {
	_  struct{} `cbor:",toarray"`
	Op [32]byte // id of the op that is pending
}

// renew extends the lease, which every op does; this one only asks for it.
func (l *law) renew(e *Entry, by authority) error {
	switch {
	case !by.may(ScopeRenew):
		return reject(NotAllowed, "the device lacks the scope %v", ScopeRenew)
	case !settled(e):
		return reject(NotSettled, "")
	}
	return nil
}

// release gives a handle back: at once if root 0 signs, after the undo window
// if a lower root does.
func (l *law) release(e *Entry, by authority, id OpID, r Release) error {
	if !by.root {
		return reject(NotAllowed, "a handle is released by a root key")
	}
	if _, ok := e.Holds(r.Handle); !ok {
		return reject(NotYourHandle, "%.40q", string(r.Handle))
	}
	if by.rank > 0 {
		if e.Pending != nil {
			return reject(AlreadyPending, "")
		}
		e.Pending = &Pending{
			Kind: OpRelease, Op: id, Rank: uint8(by.rank),
			Effective: l.block.Time + l.params.Undo, Handle: r.Handle,
		}
		return nil
	}
	if e.Pending != nil && e.Pending.Handle == r.Handle {
		e.Pending = nil
	}
	return l.retire(e, r.Handle, l.block.Time)
}

// cancel undoes a pending change within its window.
func (l *law) cancel(e *Entry, by authority, c Cancel) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "a change is undone by a root key")
	case e.Pending == nil || e.Pending.Op != c.Op:
		return reject(NothingPending, "")
	case by.rank >= int(e.Pending.Rank):
		return reject(RootOutranked, "the change was signed by root %d, the undo by root %d", e.Pending.Rank, by.rank)
	}
	e.Pending = nil
	return nil
}
