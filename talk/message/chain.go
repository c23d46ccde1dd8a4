package message

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Link is what a chain needs of an event: its place and its id.
type Link struct {
	_     struct{} `cbor:",toarray"`
	Seq   uint64
	Clock uint64
	ID    ID
	Prev  ID
}

// Chain is what one reader knows of one author's events in one conversation, or
// what an author knows of its own. It holds links and no events: the caller
// stores an event when it comes, whatever the chain says, and the chain together
// with it. The zero Chain is that of an author who said nothing yet.
//
// A Chain is not for use by several goroutines at once.
type Chain struct{ s chainState }

// chainState is a chain as it is stored.
type chainState struct {
	_       struct{} `cbor:",toarray"`
	Head    Link     // the last event in order, zero before the first
	Recent  []ID     // ids of the events up to the head, the last one last
	Waiting []Link   // rising; at least one is missing before the first
	Losses  []loss   // rising; given up, may still come
	Fork    *Fork
}

// loss is a gap that was given up. The events on both sides are known, so an
// event that comes after all still has to fit between them.
type loss struct {
	_        struct{} `cbor:",toarray"`
	From, To uint64
	Before   ID     // id of From-1, zero if From is 1
	After    ID     // id that To must have
	Floor    uint64 // clock of From-1
	Ceiling  uint64 // clock of To+1
}

// Fork is the evidence that a device sent two histories: after a restored backup,
// or on purpose. Both ids claim the same sequence number.
type Fork struct {
	_    struct{} `cbor:",toarray"`
	Seq  uint64
	Have ID // the one that was seen first
	Got  ID // the other, or the one that a successor names
}

// ForkError says that an event belongs to a second history of its author. The
// chain keeps to the first.
type ForkError struct{ Fork }

func (e *ForkError) Error() string {
	return fmt.Sprintf("chain: the author's device sent two events with number %d: %v and %v", e.Seq, e.Have, e.Got)
}

// AheadError says that an event is too far ahead to be kept waiting. It is not
// lost: ask for what is missing, then offer it again.
type AheadError struct{ Seq, Head uint64 }

func (e *AheadError) Error() string {
	return fmt.Sprintf("chain: event %d cannot wait, the last one in order is %d: ask for those between", e.Seq, e.Head)
}

// Verdict says what became of an event.
type Verdict uint8

const (
	InOrder   Verdict = iota + 1 // it and perhaps others that waited are in order
	Waits                        // earlier ones are missing, see Gaps
	Late                         // it fills part of a gap that was given up
	Duplicate                    // the very same is here
	Old                          // too old for this chain to tell a duplicate from a fork: compare with the store
)

// Accept takes an event. It returns what became of it and the ids that are in
// order by it, in their order, its own included. The error is a [*ForkError] or
// an [*AheadError], or says that the clock breaks its rule; then nothing but the
// evidence of a fork has changed.
func (c *Chain) Accept(l Link) (Verdict, []ID, error) {
	if l.Seq == 0 {
		return 0, nil, fmt.Errorf("chain: this event has no place in a chain")
	}
	if l.Seq <= c.s.Head.Seq {
		return c.past(l)
	}
	i, found := slices.BinarySearchFunc(c.s.Waiting, l.Seq, func(w Link, seq uint64) int { return cmp.Compare(w.Seq, seq) })
	switch {
	case found && c.s.Waiting[i].ID == l.ID:
		return Duplicate, nil, nil
	case found:
		return 0, nil, c.fork(l.Seq, c.s.Waiting[i].ID, l.ID)
	case l.Seq == c.s.Head.Seq+1:
		if err := c.follow(l); err != nil {
			return 0, nil, err
		}
		return InOrder, append([]ID{l.ID}, c.drain()...), nil
	case len(c.s.Waiting) >= MaxWaiting || l.Seq-c.s.Head.Seq > MaxAhead:
		return 0, nil, &AheadError{Seq: l.Seq, Head: c.s.Head.Seq}
	}
	c.s.Waiting = slices.Insert(c.s.Waiting, i, l)
	return Waits, nil, nil
}

// follow makes l the head, if it fits the present one.
func (c *Chain) follow(l Link) error {
	h := c.s.Head
	if l.Prev != h.ID {
		return c.fork(h.Seq, h.ID, l.Prev)
	}
	if err := checkClock(h, l); err != nil {
		return err
	}
	c.advance(l)
	return nil
}

// checkClock checks the clock of an event against that of the one before.
func checkClock(h, l Link) error {
	if l.Clock <= h.Clock || h.Seq > 0 && l.Clock-h.Clock > MaxClockStep {
		return fmt.Errorf("chain: event %d has clock %d after %d: its author's program is wrong", l.Seq, l.Clock, h.Clock)
	}
	return nil
}

func (c *Chain) advance(l Link) {
	c.s.Head = l
	c.s.Recent = append(c.s.Recent, l.ID)
	if n := len(c.s.Recent) - recentIDs; n > 0 {
		c.s.Recent = slices.Delete(c.s.Recent, 0, n)
	}
}

// drain moves what waited and is in order now. Whatever does not fit is left out:
// it is the one that came first which counts, and the fork is on record.
func (c *Chain) drain() (ready []ID) {
	for len(c.s.Waiting) > 0 && c.s.Waiting[0].Seq == c.s.Head.Seq+1 {
		l := c.s.Waiting[0]
		c.s.Waiting = slices.Delete(c.s.Waiting, 0, 1)
		if c.follow(l) != nil {
			break
		}
		ready = append(ready, l.ID)
	}
	return ready
}

// past judges an event that is not beyond the head.
func (c *Chain) past(l Link) (Verdict, []ID, error) {
	for i, g := range c.s.Losses {
		if l.Seq >= g.From && l.Seq <= g.To {
			return c.late(i, l)
		}
	}
	back := int(min(c.s.Head.Seq-l.Seq, recentIDs))
	if back >= len(c.s.Recent) {
		return Old, nil, nil
	}
	have := c.s.Recent[len(c.s.Recent)-1-back]
	switch {
	case have.IsZero(): // a closed gap
		return Old, nil, nil
	case have != l.ID:
		return 0, nil, c.fork(l.Seq, have, l.ID)
	}
	return Duplicate, nil, nil
}

// late judges an event of a gap that was given up. The gap closes from behind,
// since the event after it names the last one missing; one from its middle is
// refused as being ahead until those behind it are here.
func (c *Chain) late(i int, l Link) (Verdict, []ID, error) {
	g := &c.s.Losses[i]
	switch {
	case l.Seq < g.To:
		return 0, nil, &AheadError{Seq: l.Seq, Head: g.To + 1}
	case l.ID != g.After:
		return 0, nil, c.fork(l.Seq, g.After, l.ID)
	case l.Clock >= g.Ceiling || l.Clock <= g.Floor:
		return 0, nil, fmt.Errorf("chain: event %d has clock %d, want one between %d and %d: its author's program is wrong", l.Seq, l.Clock, g.Floor, g.Ceiling)
	case g.From == g.To && l.Prev != g.Before:
		return 0, nil, c.fork(g.From-1, g.Before, l.Prev)
	}
	if back := int(min(c.s.Head.Seq-l.Seq, recentIDs)); back < len(c.s.Recent) {
		c.s.Recent[len(c.s.Recent)-1-back] = l.ID
	}
	g.To, g.After, g.Ceiling = g.To-1, l.Prev, l.Clock
	if g.To < g.From {
		c.s.Losses = slices.Delete(c.s.Losses, i, i+1)
	}
	return Late, []ID{l.ID}, nil
}

func (c *Chain) fork(seq uint64, have, got ID) error {
	f := Fork{Seq: seq, Have: have, Got: got}
	if c.s.Fork == nil {
		c.s.Fork = &f
	}
	return &ForkError{f}
}

// Forked returns the first evidence that the author sent two histories, nil if
// there is none.
func (c *Chain) Forked() *Fork { return c.s.Fork }

// Head returns the last event in order, the zero Link before the first.
func (c *Chain) Head() Link { return c.s.Head }

// Bare returns the chain without anything but its head: what an author needs to go
// on, and a reader not to ask for what is over, when the events are kept no more.
func (c *Chain) Bare() *Chain {
	var bare Chain
	if c.s.Head.Seq > 0 {
		bare.s.Head, bare.s.Recent = c.s.Head, []ID{c.s.Head.ID}
	}
	return &bare
}

// Span is some consecutive sequence numbers, both ends included.
type Span struct{ From, To uint64 }

// Gaps returns what is missing before events that wait, in rising order.
func (c *Chain) Gaps() []Span {
	var gaps []Span
	last := c.s.Head.Seq
	for _, w := range c.s.Waiting {
		if w.Seq > last+1 {
			gaps = append(gaps, Span{last + 1, w.Seq - 1})
		}
		last = w.Seq
	}
	return gaps
}

// Lost returns what was given up and did not come since, in rising order.
func (c *Chain) Lost() []Span {
	var out []Span
	for _, g := range c.s.Losses {
		out = append(out, Span{g.From, g.To})
	}
	return out
}

// GiveUp stops waiting for the first gap and returns the ids that are in order by
// that. Its events may still come, from behind (see [Late]). Without a gap it
// does nothing.
func (c *Chain) GiveUp() []ID {
	if len(c.s.Waiting) == 0 {
		return nil
	}
	h, l := c.s.Head, c.s.Waiting[0]
	c.s.Waiting = slices.Delete(c.s.Waiting, 0, 1)
	if l.Clock <= h.Clock {
		return nil // it cannot follow, whatever stood between
	}
	g := loss{From: h.Seq + 1, To: l.Seq - 1, Before: h.ID, After: l.Prev, Floor: h.Clock, Ceiling: l.Clock}
	c.s.Losses = append(c.s.Losses, g)
	if n := len(c.s.Losses) - maxLosses; n > 0 {
		c.s.Losses = slices.Delete(c.s.Losses, 0, n)
	}
	for range min(l.Seq-h.Seq-1, recentIDs) {
		c.advance(Link{Seq: h.Seq})
	}
	c.advance(l)
	return append([]ID{l.ID}, c.drain()...)
}

// Next returns the place of the author's own next event. seen is the highest
// clock of any event that the author has seen in the conversation. The author
// then gives the new event to Accept, like any reader.
func (c *Chain) Next(seen uint64) (Place, error) {
	h := c.s.Head
	clock := max(h.Clock, seen) + 1
	if h.Seq > 0 {
		// Somebody's clock far ahead is followed as fast as readers allow.
		clock = min(clock, h.Clock+MaxClockStep)
	} else {
		clock = min(clock, maxFirstClock)
	}
	if clock > maxClock || h.Seq >= maxSeq {
		return Place{}, fmt.Errorf("chain: no further event fits this conversation: begin another")
	}
	return Place{Seq: h.Seq + 1, Prev: h.ID, Clock: clock}, nil
}

// maxChain bounds a stored chain: 1,024 links of at most 88 bytes, 64 ids, 64
// losses of at most 106.
const maxChain = 112 << 10

// Encode returns the chain as it is stored.
func (c *Chain) Encode() []byte { return wire.Encode(c.s) }

// DecodeChain parses a stored chain. It refuses one whose parts disagree.
func DecodeChain(b []byte) (*Chain, error) {
	var c Chain
	if err := wire.Decode(b, &c.s, maxChain); err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	if err := c.s.check(); err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	return &c, nil
}

func (s chainState) check() error {
	if len(s.Recent) > recentIDs || len(s.Waiting) > MaxWaiting || len(s.Losses) > maxLosses {
		return fmt.Errorf("it holds more than it may")
	}
	if s.Head.Seq > maxSeq || uint64(len(s.Recent)) > s.Head.Seq || (s.Head.Seq > 0) != (len(s.Recent) > 0) {
		return fmt.Errorf("its head is out of range")
	}
	last := s.Head.Seq + 1
	for _, w := range s.Waiting {
		if w.Seq <= last || w.Seq > maxSeq {
			return fmt.Errorf("what waits is out of order")
		}
		last = w.Seq
	}
	end := uint64(0)
	for _, g := range s.Losses {
		if g.From <= end || g.To < g.From || g.To >= s.Head.Seq {
			return fmt.Errorf("what is lost is out of order")
		}
		end = g.To
	}
	return nil
}
