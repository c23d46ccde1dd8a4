package namesvc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Rules is the newest rule set that this package knows. A chain says at each
// height which one applies.
const Rules = 1

// FirstRules is the rule set that every chain begins with. It goes on to others
// by votes of its validators' operators.
const FirstRules = 1

// Block is what the law knows of a block.
type Block struct {
	Height     uint64
	Time       uint64      // seconds since 1970, from the header
	Seed       [32]byte    // the state root before the block: settles ties
	Checkpoint *Checkpoint // recorded at the start of the block, or nil
	Faults     []Fault     // misbehaviour of validators that the block proves
}

// Receipt says what became of an op.
type Receipt struct {
	ID     OpID
	Code   RejectCode
	Detail string // for people; no part of consensus
}

// Begin writes the first state of a chain: its parameters, its validators and
// checkpoint 0, whose digest is the chain's own seed.
func Begin(v View, p Params, validators []Validator, seed [32]byte) error {
	if err := p.Check(); err != nil {
		return err
	}
	if err := beginValidators(v, validators); err != nil {
		return err
	}
	v.Set(ParamsKey(), p.Encode())
	v.Set(RulesKey(), wire.Encode(InForce{Rules: FirstRules}))
	v.Set(MeterKey(), wire.Encode(Meter{}))
	v.Set(CheckpointKey(0), wire.Encode(Checkpoint{Digest: seed}))
	return nil
}

// ApplyBlock applies the block's ops to v and returns a receipt for each, in
// the order given. Rejected ops change nothing. Registrations come after all
// other ops, and among themselves in the order of their commits, so that the
// order in which a proposer lists them is worth nothing.
//
// An error means that the state could not be read or is damaged; v is then
// undefined and the block must not be committed.
func ApplyBlock(rules uint32, v View, b Block, txs []*Tx) ([]Receipt, error) {
	if rules != Rules {
		return nil, fmt.Errorf("apply block %d: %w", b.Height, reject(UnknownRules, "it is %d, this program knows %d", rules, Rules))
	}
	l := &law{block: b, state: v, view: NewOverlay(v)}
	if err := l.load(ParamsKey(), &l.params); err != nil {
		return nil, fmt.Errorf("apply block %d: %w", b.Height, err)
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("apply block %d: %w", b.Height, err)
	}
	order, err := l.order(txs)
	if err != nil {
		return nil, fmt.Errorf("apply block %d: %w", b.Height, err)
	}
	receipts := make([]Receipt, len(txs))
	for _, i := range order {
		r, err := l.one(txs[i])
		if err != nil {
			return nil, fmt.Errorf("apply block %d: op %v: %w", b.Height, txs[i].ID, err)
		}
		receipts[i] = r
	}
	return receipts, nil
}

// law is the application of one block.
type law struct {
	params Params
	block  Block
	state  View     // what earlier ops of the block left
	view   *Overlay // the op under way
}

// one applies one op and keeps its changes if it is accepted.
func (l *law) one(tx *Tx) (Receipt, error) {
	err := l.apply(tx)
	if err == nil {
		l.view.flush(l.state)
		return Receipt{ID: tx.ID}, nil
	}
	l.view.drop()
	var r *Reject
	if errors.As(err, &r) {
		return Receipt{ID: tx.ID, Code: r.Code, Detail: r.Detail}, nil
	}
	return Receipt{}, err
}

func (l *law) apply(tx *Tx) error {
	switch {
	case tx.fault != nil:
		return tx.fault
	case tx.Commit != nil:
		return l.commit(tx)
	case tx.Op.Kind == OpRegister && tx.Op.Seq == 1:
		return l.registerAccount(tx)
	}
	return l.change(tx)
}

// order returns the order in which the block's ops are applied, as indexes.
func (l *law) order(txs []*Tx) ([]int, error) {
	type registration struct {
		index  int
		height uint64 // of its commit
		tie    [32]byte
	}
	var order []int
	var regs []registration
	for i, tx := range txs {
		if tx.fault != nil || tx.Kind() != OpRegister {
			order = append(order, i)
			continue
		}
		c, _, err := l.committed(tx.hash, tx.body.(*Registration).Handle)
		if err != nil && !errors.Is(err, errAbsent) {
			return nil, err
		}
		regs = append(regs, registration{i, c.Height, wire.TagTie.Sum(tx.hash[:], l.block.Seed[:])})
	}
	slices.SortStableFunc(regs, func(a, b registration) int {
		return cmp.Or(cmp.Compare(a.height, b.height), bytes.Compare(a.tie[:], b.tie[:]))
	})
	for _, r := range regs {
		order = append(order, r.index)
	}
	return order, nil
}

// open does what a block does before its ops: a rule set comes into force, a
// checkpoint is recorded and settles what operators have voted for, and faults
// are noted. In this order, so that what a checkpoint settles is a function of
// the state that it sums up.
func (l *law) open() error {
	if err := l.enforce(); err != nil {
		return err
	}
	if c := l.block.Checkpoint; c != nil {
		if err := l.checkpoint(c); err != nil {
			return err
		}
		if err := l.elect(c); err != nil {
			return err
		}
	}
	return l.note(l.block.Faults)
}

// checkpoint records the checkpoint that the machine hands in.
func (l *law) checkpoint(c *Checkpoint) error {
	var m Meter
	if err := l.load(MeterKey(), &m); err != nil {
		return err
	}
	if c.Number != m.Checkpoint+1 || c.Height >= l.block.Height {
		return fmt.Errorf("checkpoint %d of height %d does not follow %d", c.Number, c.Height, m.Checkpoint)
	}
	m.Checkpoint = c.Number
	l.state.Set(MeterKey(), wire.Encode(m))
	l.state.Set(CheckpointKey(c.Number), wire.Encode(*c))
	return nil
}

// change applies a signed op to an account that is on the chain.
func (l *law) change(tx *Tx) error {
	op := tx.Op
	if err := l.window(op.Chain, op.Expires, l.params.MaxExpiry); err != nil {
		return err
	}
	e, err := l.entry(op.Account)
	if err != nil {
		return err
	}
	if e == nil {
		return reject(UnknownAccount, "%v", op.Account)
	}
	if op.Seq != e.Seq+1 {
		return reject(WrongSequence, "it is %d, the next is %d", op.Seq, e.Seq+1)
	}
	if op.Prev != e.LastOp {
		return reject(WrongPrevious, "")
	}
	if err := l.settle(e); err != nil {
		return err
	}
	by, err := l.signer(e, op.Signer)
	if err != nil {
		return err
	}
	if err := l.charge(e, by); err != nil {
		return err
	}
	switch body := tx.body.(type) {
	case *Registration:
		err = l.registerAlias(e, by, tx, body)
	case *Records:
		err = l.setRecords(e, by, *body)
	case *DeviceList:
		err = l.setDevices(e, by, body.Devices)
	case *RootList:
		err = l.setRoots(e, by, *body)
	case *Renewal:
		err = l.renew(e, by)
	case *Release:
		err = l.release(e, by, tx.ID, *body)
	case *Cancel:
		err = l.cancel(e, by, *body)
	case *Offer:
		err = l.operate(e, by, *body)
	case *Vote:
		err = l.vote(e, by, *body)
	case *Sponsorship:
		err = l.sponsor(e, by, *body)
	default:
		err = reject(Malformed, "%v", op.Kind)
	}
	if err != nil {
		return err
	}
	l.finish(e, tx)
	return nil
}

// window checks an op's chain and expiry height.
func (l *law) window(chain string, expires, ahead uint64) error {
	switch {
	case chain != l.params.Chain:
		return reject(WrongChain, "it is for %.60q, this is %q", chain, l.params.Chain)
	case expires < l.block.Height:
		return reject(Expired, "it expired at height %d, this is %d", expires, l.block.Height)
	case expires > l.block.Height+ahead:
		return reject(TooFarAhead, "it expires at height %d, at most %d is allowed", expires, l.block.Height+ahead)
	}
	return nil
}

// settle writes into an entry what time has done to it: it applies a pending
// change whose window has passed, and drops each handle that somebody else took
// after the account had lapsed. Those that nobody took come back to life with
// the account.
func (l *law) settle(e *Entry) error {
	now := l.block.Time
	if p := e.Pending; p != nil && now >= p.Effective {
		if err := l.retire(e, p.Handle, p.Effective); err != nil {
			return err
		}
		e.Pending = nil
	}
	if now < e.Lapses {
		return nil
	}
	for _, lease := range e.Handles {
		mine, _, err := l.leaseLeaf(e.Account, lease)
		if err != nil {
			return err
		}
		if mine {
			continue
		}
		e.Handles = without(e.Handles, lease.Handle)
		if e.Pending != nil && e.Pending.Handle == lease.Handle {
			e.Pending = nil
		}
	}
	return nil
}

// authority is who signed an op: a root key of some rank, or a device.
type authority struct {
	key    key.Public
	root   bool
	rank   int    // of a root: its index, or next for the one announced
	device Device // of a device
}

// next is the rank of the root key that NextRoot announces: it outranks all.
const next = -1

// may reports whether the authority has all these scopes; root keys have all.
func (a authority) may(s Scopes) bool { return a.root || a.device.Scopes&s == s }

// signer finds out by what right k acts for e.
func (l *law) signer(e *Entry, k key.Public) (authority, error) {
	for i, r := range e.Roots {
		if r == k {
			return authority{key: k, root: true, rank: i}, nil
		}
	}
	if announced(e.NextRoot, k) {
		return authority{key: k, root: true, rank: next}, nil
	}
	list, err := l.devices(e)
	if err != nil {
		return authority{}, err
	}
	d, ok := list.Find(k)
	switch {
	case !ok:
		return authority{}, reject(NotAllowed, "the signer is no key of the account")
	case l.block.Time >= d.Expires:
		return authority{}, reject(KeyExpired, "")
	}
	return authority{key: k, device: d}, nil
}

// How many ops of an account's budget a key must leave to those that outrank
// it: a stolen one could otherwise use the budget up and keep its owner from
// removing it, or from cancelling within the undo window what it did.
const (
	quotaReserve = 5 // left by devices
	lowerReserve = 3 // left by root keys below the first
	topReserve   = 1 // left by root key 0 to the one announced
)

// reserve returns how much of the budget the authority cannot use.
func (a authority) reserve() uint64 {
	switch {
	case !a.root:
		return quotaReserve
	case a.rank > 0:
		return lowerReserve
	case a.rank == 0:
		return topReserve
	}
	return 0
}

// charge takes one op from the account's budget. The budget is a single time,
// that at which it is full again (the generic cell rate algorithm).
func (l *law) charge(e *Entry, by authority) error {
	burst := uint64(l.params.QuotaBurst) - by.reserve()
	now := l.block.Time
	full := max(e.Quota, now) + l.params.QuotaEvery
	if full > now+burst*l.params.QuotaEvery {
		return reject(OverQuota, "one more in %d seconds", full-now-burst*l.params.QuotaEvery)
	}
	e.Quota = full
	return nil
}

// finish moves the account's position on and writes its entry.
func (l *law) finish(e *Entry, tx *Tx) {
	e.Seq++
	e.LastOp = tx.ID
	e.OpLog = OpLog(e.OpLog).Append(e.Seq, l.block.Height, l.block.Time, tx.ID)
	e.LastActive = l.block.Time
	l.extend(e)
	l.view.Set(AccountKey(e.Account), e.Encode())
}

// extend renews the account's lease, which any op does once the account is
// settled. A young account gets short leases, an established one long ones.
func (l *law) extend(e *Entry) {
	if !settled(e) {
		return
	}
	lease := l.params.LeaseTime
	if l.block.Time < e.Registered+l.params.Established {
		lease = l.params.Liveness
	}
	if until := l.block.Time + lease; until > e.Expires {
		e.Expires = until
		e.Lapses = until + l.params.Dormant
	}
}

// settled reports whether an account is more than a claimed name: it has bound
// a device, and says where it can be reached.
func settled(e *Entry) bool {
	return e.DeviceSeq > 0 && (len(e.Records.Concierges) > 0 || e.Records.Service != nil)
}

// errAbsent is load's way to say that the leaf is not there.
var errAbsent = errors.New("leaf is absent")

// Bounds of the law's own small leaves, in bytes.
const (
	maxMeter      = 64
	maxCheckpoint = 80
)

// load reads and decodes a leaf. What it finds was written by this package, so
// a decoding error means a damaged state.
func (l *law) load(k Key, into any) error { return load(l.view, k, into) }

func load(g Getter, k Key, into any) error {
	b, err := g.Get(k)
	if err != nil {
		return err
	}
	if b == nil {
		return errAbsent
	}
	if err := wire.Recall(b, into); err != nil {
		return fmt.Errorf("leaf %x is damaged: %w", k[:6], err)
	}
	return nil
}

// entry returns an account's entry, or nil if it is not on the chain.
func (l *law) entry(id AccountID) (*Entry, error) {
	var e Entry
	err := l.load(AccountKey(id), &e)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	return &e, err
}

// devices returns the account's device list, empty if it never had one.
func (l *law) devices(e *Entry) (Devices, error) {
	d := Devices{Version: 1, Account: e.Account}
	if e.DeviceSeq == 0 {
		return d, nil
	}
	return d, l.load(DevicesKey(e.Account), &d)
}
