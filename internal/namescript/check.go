package namescript

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// CheckState reports every way in which a whole state, at the time of its
// block, is not one that the law can have made:
//
//   - each leaf is one of the law's, decodes, encodes back, and stands where its
//     content says;
//   - handles of entries and handle leaves agree, both ways;
//   - a devices leaf has the hash and the number that its entry says, and no key
//     of it is removed, doubled or a root key;
//   - commits and their queue agree, and nothing is missing in between;
//   - checkpoints have no gap;
//   - the numbers of an entry are in order;
//   - sponsors are services, and their numbers are in order;
//   - each validator's operator says that it runs this one, or leaves, and only
//     operators of validators have votes.
func CheckState(all iter.Seq2[namesvc.Key, []byte], now uint64) error {
	c := checker{
		now: now, left: map[namesvc.Key][]byte{}, entries: map[namesvc.AccountID]namesvc.Entry{},
		handles: map[namesvc.Skeleton]namesvc.HandleLeaf{}, devices: map[namesvc.AccountID]namesvc.Devices{},
	}
	for k, v := range all {
		c.left[k] = v
	}
	c.fixed()
	c.queue()
	c.checkpoints()
	c.sort()
	for _, e := range c.entries {
		c.entry(e)
	}
	for _, l := range c.handles {
		c.handle(l)
	}
	for _, s := range c.sponsors {
		c.sponsor(s)
	}
	for id := range c.devices {
		if e, ok := c.entries[id]; !ok || e.DeviceSeq == 0 {
			c.fault("devices of %v: no entry speaks of them", id)
		}
	}
	for k := range c.left {
		c.fault("leaf %x is none of the law's", k[:8])
	}
	return errors.Join(c.faults...)
}

type checker struct {
	now     uint64
	left    map[namesvc.Key][]byte // leaves not yet accounted for
	params  namesvc.Params
	meter   namesvc.Meter
	entries map[namesvc.AccountID]namesvc.Entry
	handles map[namesvc.Skeleton]namesvc.HandleLeaf
	devices map[namesvc.AccountID]namesvc.Devices
	// sponsors are in no order.
	sponsors []namesvc.Sponsor
	faults   []error
}

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("state: "+format, args...))
}

// take removes a leaf that must be there.
func (c *checker) take(k namesvc.Key, what string) []byte {
	b, ok := c.left[k]
	if !ok {
		c.fault("%s is missing", what)
	}
	delete(c.left, k)
	return b
}

// fixed checks the leaves of which there is one.
func (c *checker) fixed() {
	var err error
	if c.params, err = namesvc.DecodeParams(c.take(namesvc.ParamsKey(), "the parameters")); err != nil {
		c.fault("%w", err)
	}
	if err := wire.Decode(c.take(namesvc.MeterKey(), "the meter"), &c.meter, maxSmallLeaf); err != nil {
		c.fault("meter: %w", err)
	}
	c.validators()
	if _, err := namesvc.DecodeInForce(c.take(namesvc.RulesKey(), "the rule set")); err != nil {
		c.fault("%w", err)
	}
}

// validators checks the set and what the operators in it say.
func (c *checker) validators() {
	set, err := namesvc.DecodeValidatorSet(c.take(namesvc.ValidatorsKey(), "the validator set"))
	if err != nil {
		c.fault("%w", err)
	}
	for _, v := range set.List {
		if v.Operator == (namesvc.AccountID{}) {
			continue
		}
		o, err := namesvc.DecodeOperator(c.take(namesvc.OperatorKey(v.Operator), "an operator"))
		switch {
		case err != nil:
			c.fault("%w", err)
		case o.Account != v.Operator || len(o.Key) != 0 && !bytes.Equal(o.Key, v.Key[:]):
			c.fault("operator %v: its key is not that of its validator", v.Operator)
		}
		for i, vote := range o.Votes {
			for _, other := range o.Votes[:i] {
				if other.Kind == vote.Kind && other.Account == vote.Account {
					c.fault("operator %v: two votes on one subject", v.Operator)
				}
			}
		}
	}
}

// sort finds out by their content which leaves are entries, handles, devices.
func (c *checker) sort() {
	for k, b := range c.left {
		if e, err := namesvc.DecodeEntry(b); err == nil && namesvc.AccountKey(e.Account) == k {
			c.entries[e.Account] = e
			delete(c.left, k)
		} else if l, err := namesvc.DecodeHandleLeaf(b); err == nil && namesvc.HandleKey(l.Handle.Skeleton()) == k {
			c.handles[l.Handle.Skeleton()] = l
			delete(c.left, k)
		} else if d, err := namesvc.DecodeDevices(b); err == nil && namesvc.DevicesKey(d.Account) == k {
			c.devices[d.Account] = d
			delete(c.left, k)
		} else if o, err := namesvc.DecodeOperator(b); err == nil && namesvc.OperatorKey(o.Account) == k {
			if len(o.Key) == 0 || len(o.Votes) != 0 {
				c.fault("operator %v: it neither runs a validator nor offers to, or has votes without one", o.Account)
			}
			delete(c.left, k)
		} else if s, err := namesvc.DecodeSponsor(b); err == nil && namesvc.SponsorKey(s.Account) == k {
			c.sponsors = append(c.sponsors, s)
			delete(c.left, k)
		}
	}
}

// sponsor checks what an account says and may do as a sponsor.
func (c *checker) sponsor(s namesvc.Sponsor) {
	e, ok := c.entries[s.Account]
	switch {
	case !ok || e.Kind != namesvc.Service:
		c.fault("sponsor %v: it is no service on the chain", s.Account)
	case s.Declared > c.now || s.Day > c.now/86400:
		c.fault("sponsor %v: declared %d, day %d, now %d", s.Account, s.Declared, s.Day, c.now)
	case s.Used > namesvc.MaxSponsorDaily:
		c.fault("sponsor %v: it paid %d times on a day", s.Account, s.Used)
	}
}

// commitLeaf is a commit's leaf, as SPEC-names §7 has it.
type commitLeaf struct {
	_        struct{} `cbor:",toarray"`
	Height   uint64
	Number   uint64
	Revealed bool
}

func (c *checker) queue() {
	var last uint64
	for n := c.meter.Oldest; n < c.meter.Next; n++ {
		var hash [32]byte
		var leaf commitLeaf
		place := namesvc.LeafKey('q', binary.BigEndian.AppendUint64(nil, n))
		if err := wire.Decode(c.take(place, fmt.Sprintf("place %d of the queue", n)), &hash, maxSmallLeaf); err != nil {
			c.fault("queue: %w", err)
		}
		if err := wire.Decode(c.take(namesvc.CommitKey(hash), fmt.Sprintf("commit %d", n)), &leaf, maxSmallLeaf); err != nil {
			c.fault("commit: %w", err)
		}
		if leaf.Number != n || leaf.Height < last {
			c.fault("commit %d says it is %d, of height %d after %d", n, leaf.Number, leaf.Height, last)
		}
		last = leaf.Height
	}
}

func (c *checker) checkpoints() {
	var last namesvc.Checkpoint
	for n := range c.meter.Checkpoint + 1 {
		var cp namesvc.Checkpoint
		if err := wire.Decode(c.take(namesvc.CheckpointKey(n), fmt.Sprintf("checkpoint %d", n)), &cp, maxSmallLeaf); err != nil {
			c.fault("checkpoint: %w", err)
		}
		if cp.Number != n || n > 0 && (cp.Height <= last.Height || cp.Time < last.Time) {
			c.fault("checkpoint %d: number %d, height %d after %d", n, cp.Number, cp.Height, last.Height)
		}
		last = cp
	}
}

func (c *checker) entry(e namesvc.Entry) {
	id := e.Account.String()[:8]
	switch {
	case e.LastActive < e.Registered || e.LastActive > c.now:
		c.fault("entry %s: registered %d, active %d, now %d", id, e.Registered, e.LastActive, c.now)
	case e.Lapses != e.Expires+c.params.Dormant || e.Expires <= e.Registered:
		c.fault("entry %s: expires %d, lapses %d", id, e.Expires, e.Lapses)
	case e.Quota > c.now+uint64(c.params.QuotaBurst)*c.params.QuotaEvery:
		c.fault("entry %s: the budget is overdrawn", id)
	}
	for i, l := range e.Handles {
		for _, o := range e.Handles[:i] {
			if o.Handle.Skeleton() == l.Handle.Skeleton() {
				c.fault("entry %s: holds both %v and %v", id, o.Handle, l.Handle)
			}
		}
		if _, ok := c.handles[l.Handle.Skeleton()]; !ok {
			c.fault("entry %s: %v has no leaf", id, l.Handle)
		}
	}
	// What the entry means now must be what the leaf says.
	for _, l := range e.At(c.now).Handles {
		leaf := c.handles[l.Handle.Skeleton()]
		if leaf.Account != e.Account || leaf.Handle != l.Handle || leaf.Generation != l.Generation || leaf.Released != 0 {
			c.fault("entry %s: holds %v of generation %d, its leaf says %v", id, l.Handle, l.Generation, leaf)
		}
	}
	if p := e.Pending; p != nil {
		if _, ok := e.Holds(p.Handle); !ok || p.Rank == 0 {
			c.fault("entry %s: what is pending makes no sense", id)
		}
	}
	c.entryDevices(e, id)
}

func (c *checker) entryDevices(e namesvc.Entry, id string) {
	d, ok := c.devices[e.Account]
	if !ok {
		if e.DeviceSeq != 0 || e.DevicesRoot != [32]byte{} {
			c.fault("entry %s: its devices leaf is missing", id)
		}
		return
	}
	if d.Seq != e.DeviceSeq || d.Root() != e.DevicesRoot {
		c.fault("entry %s: its devices leaf is another", id)
	}
	for i, dev := range d.List {
		for _, o := range d.List[:i] {
			if o.Key == dev.Key {
				c.fault("entry %s: device %d is listed twice", id, i)
			}
		}
		for j, r := range e.Roots {
			if r == dev.Key {
				c.fault("entry %s: root key %d is a device", id, j)
			}
		}
		if h := dev.Key.NextHash(); bytes.Equal(h[:], e.NextRoot) {
			c.fault("entry %s: the next root key is a device", id)
		}
		if mark := sha256.Sum256(dev.Key[:]); slices.Contains(d.Removed, [16]byte(mark[:16])) {
			c.fault("entry %s: device %d was removed before", id, i)
		}
		if dev.Added > c.now || dev.Expires <= dev.Added || dev.Scopes == 0 {
			c.fault("entry %s: device %d makes no sense", id, i)
		}
	}
}

func (c *checker) handle(l namesvc.HandleLeaf) {
	owner, ok := c.entries[l.Account]
	if !ok {
		c.fault("handle %v: its account is missing", l.Handle)
		return
	}
	lease, held := owner.Holds(l.Handle)
	held = held && lease.Generation == l.Generation
	if held == (l.Released != 0) {
		c.fault("handle %v: released at %d, but held is %v", l.Handle, l.Released, held)
	}
	if l.Registered > c.now || l.Released > c.now || l.Released != 0 && l.Released < l.Registered {
		c.fault("handle %v: registered %d, released %d, now %d", l.Handle, l.Registered, l.Released, c.now)
	}
	_, err := namesvc.Interpret(l.Handle, &l, &owner, c.now)
	var missing *namesvc.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		c.fault("handle %v: %w", l.Handle, err)
	}
}
