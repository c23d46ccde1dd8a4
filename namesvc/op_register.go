package namesvc

import (
	"errors"

	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Registration is the body of a register op. For an account that is not yet on
// the chain it carries the genesis op and may carry first devices and records;
// for one that is, it adds a handle and nothing else.
type Registration struct {
	_       struct{} `cbor:",toarray"`
	Salt    [16]byte // random: nobody can guess the op behind a commit
	Handle  Handle   // empty for an account without a handle
	Genesis []byte   // exact bytes of the genesis op, or empty
	Devices []Grant
	Records *Records
}

// registerAccount puts an account on the chain.
func (l *law) registerAccount(tx *Tx) error {
	op, body := tx.Op, tx.body.(*Registration)
	if err := l.window(op.Chain, op.Expires, l.params.MaxExpiry); err != nil {
		return err
	}
	paid, err := l.use(tx.hash, body.Handle)
	if err != nil {
		return err
	}
	known, err := l.entry(op.Account)
	if err != nil {
		return err
	}
	if known != nil {
		return reject(AccountExists, "its next sequence is %d", known.Seq+1)
	}
	g, err := DecodeGenesis(body.Genesis)
	if err != nil {
		return reject(BadGenesis, "%v", err)
	}
	if g.Account() != op.Account {
		return reject(BadGenesis, "its hash is %v", g.Account())
	}
	if op.Prev != op.Account {
		return reject(WrongPrevious, "the first op's previous is the account id")
	}
	now := l.block.Time
	e := &Entry{
		Version: 1, Account: op.Account, Kind: g.Kind, Generation: 1, LastOp: op.Account,
		Roots: g.Roots, NextRoot: g.NextRoot, Guardians: g.Guardians,
		Registered: now, Expires: now + l.params.Probation,
	}
	e.Lapses = e.Expires + l.params.Dormant
	by, err := l.signer(e, op.Signer)
	if err != nil {
		return err
	}
	if !by.root || by.rank == next {
		return reject(NotAllowed, "a registration is signed by a root key of the genesis op")
	}
	if body.Handle != "" {
		if err := l.take(e, body.Handle, paid); err != nil {
			return err
		}
	}
	if len(body.Devices) > 0 {
		if err := l.setDevices(e, by, body.Devices); err != nil {
			return err
		}
	}
	if body.Records != nil {
		if err := l.setRecords(e, by, *body.Records); err != nil {
			return err
		}
	}
	l.finish(e, tx)
	return nil
}

// registerAlias gives an account on the chain one more handle.
func (l *law) registerAlias(e *Entry, by authority, tx *Tx, body *Registration) error {
	switch {
	case !by.root:
		return reject(NotAllowed, "a registration is signed by a root key")
	case len(body.Genesis) != 0 || len(body.Devices) != 0 || body.Records != nil:
		return reject(BadGenesis, "the account is on the chain already; the op may only add a handle")
	case body.Handle == "":
		return reject(BadHandle, "it is empty")
	case l.block.Time >= e.Lapses && !settled(e):
		// The op would not renew the lease, so the handle would be retired
		// from the first second.
		return reject(NotSettled, "it has lapsed")
	}
	paid, err := l.use(tx.hash, body.Handle)
	if err != nil {
		return err
	}
	return l.take(e, body.Handle, paid)
}

// use uses up the commit behind a registration. For a new account it comes
// before all else, so that who sends a registration twice learns that the first
// one came through. It returns what paid for the commit.
func (l *law) use(hash [32]byte, h Handle) (ticket.Payment, error) {
	c, by, err := l.committed(hash, h)
	switch {
	case errors.Is(err, errAbsent):
		return 0, reject(NoCommit, "")
	case err != nil:
		return 0, err
	case c.Revealed:
		return 0, reject(CommitUsed, "")
	case l.block.Height <= c.Height:
		return 0, reject(CommitTooYoung, "")
	case l.tooOld(c):
		return 0, reject(CommitTooOld, "it was made at height %d, %d blocks were allowed", c.Height, l.params.Reveal)
	}
	c.Revealed = true
	l.view.Set(CommitKey(commitID(by, hash)), wire.Encode(c))
	return by, nil
}

func (l *law) tooOld(c commitLeaf) bool { return l.block.Height > c.Height+l.params.Reveal }

// committed returns the commit that a registration reveals, and what paid for
// it. There may be two, because whoever sees a commit can make it again with
// another kind of payment. One that was revealed comes before all else. A handle
// that is too short for work goes by its ticket. Any other goes by the earlier
// of the two, as long as that is not too old, so that a second one can neither
// put a registration off nor send it to the back.
func (l *law) committed(hash [32]byte, h Handle) (commitLeaf, ticket.Payment, error) {
	var work, blind commitLeaf
	werr := l.load(CommitKey(commitID(ticket.Work, hash)), &work)
	if werr != nil && !errors.Is(werr, errAbsent) {
		return commitLeaf{}, 0, werr
	}
	switch berr := l.load(CommitKey(commitID(ticket.Blind, hash)), &blind); {
	case errors.Is(berr, errAbsent):
		return work, ticket.Work, werr
	case berr != nil:
		return commitLeaf{}, 0, berr
	case werr != nil || blind.Revealed:
		return blind, ticket.Blind, nil
	case work.Revealed:
		return work, ticket.Work, nil
	case h != "" && len(h) < int(l.params.MinHandle), l.tooOld(work), blind.Height < work.Height && !l.tooOld(blind):
		return blind, ticket.Blind, nil
	}
	return work, ticket.Work, nil
}

// take gives a handle to e, whose commit was paid for so.
func (l *law) take(e *Entry, h Handle, paid ticket.Payment) error {
	if fault := h.fault(); fault != "" {
		return reject(BadHandle, "%.40q: %s", string(h), fault)
	}
	least, how := l.params.MinHandle, "by work"
	if paid == ticket.Blind {
		least, how = l.params.MinSponsored, "with a sponsor's ticket"
	}
	if len(h) < int(least) {
		return reject(HandleTooShort, "%v has %d characters, at least %d are needed %s", h, len(h), least, how)
	}
	if len(e.Handles) >= MaxHandles {
		return reject(TooManyHandles, "%d", MaxHandles)
	}
	generation, err := l.available(h)
	if err != nil {
		return err
	}
	// What an account held when it lapsed comes back with the account as long
	// as nobody else takes it, so it must not register the same again.
	for _, lease := range e.Handles {
		if lease.Handle.Skeleton() == h.Skeleton() {
			return reject(HandleTaken, "the account has %v and only needs to renew", lease.Handle)
		}
	}
	e.Handles = append(e.Handles, Lease{Handle: h, Generation: generation})
	l.view.Set(HandleKey(h.Skeleton()), HandleLeaf{
		Version: 1, Account: e.Account, Generation: generation, Handle: h, Registered: l.block.Time,
	}.Encode())
	return nil
}

// available returns the generation that a new lease of h would have, or says
// why there can be none now.
func (l *law) available(h Handle) (uint32, error) {
	var leaf HandleLeaf
	switch err := l.load(HandleKey(h.Skeleton()), &leaf); {
	case errors.Is(err, errAbsent):
		return 1, nil
	case err != nil:
		return 0, err
	}
	owner, err := l.entry(leaf.Account)
	if err != nil {
		return 0, err
	}
	if owner == nil {
		return 0, errors.New("a handle's account is missing; the state is damaged")
	}
	status, since := leaf.status(*owner, l.block.Time)
	switch {
	case status != Retired && leaf.Handle == h:
		return 0, reject(HandleTaken, "%v", h)
	case status != Retired:
		return 0, reject(HandleConfusable, "%v looks like %v", h, leaf.Handle)
	case l.block.Time < since+l.params.Quarantine:
		return 0, reject(HandleRetired, "%v rests for %d more seconds", leaf.Handle, since+l.params.Quarantine-l.block.Time)
	}
	return leaf.Generation + 1, nil
}

// retire takes a handle from e and marks it as given back at the given time. A
// handle that lapsed may have a new owner by then, whose leaf is not e's to
// touch.
func (l *law) retire(e *Entry, h Handle, at uint64) error {
	lease, held := e.Holds(h)
	if !held {
		return nil
	}
	mine, leaf, err := l.leaseLeaf(e.Account, lease)
	if err != nil {
		return err
	}
	e.Handles = without(e.Handles, h)
	if mine {
		leaf.Released = at
		l.view.Set(HandleKey(h.Skeleton()), leaf.Encode())
	}
	return nil
}

// leaseLeaf returns the leaf of a lease's handle, and whether it still is that
// of this account's lease.
func (l *law) leaseLeaf(id AccountID, lease Lease) (mine bool, leaf HandleLeaf, err error) {
	err = l.load(HandleKey(lease.Handle.Skeleton()), &leaf)
	return err == nil && leaf.Account == id && leaf.Generation == lease.Generation, leaf, err
}
