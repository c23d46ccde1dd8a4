package message_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/confab-chat/confab/talk/message"
)

// links returns n links of one chain, each with its own id. branch makes another
// history of the same numbers.
func links(n int, branch uint64) []message.Link {
	out := make([]message.Link, n)
	for i := range out {
		out[i] = message.Link{Seq: uint64(i + 1), Clock: uint64(2 * (i + 1)), ID: id(branch<<32 | uint64(i+1))}
		if i > 0 {
			out[i].Prev = out[i-1].ID
		}
	}
	return out
}

func accept(t *testing.T, c *message.Chain, l message.Link, want message.Verdict) []message.ID {
	t.Helper()
	v, ready, err := c.Accept(l)
	if err != nil || v != want {
		t.Fatalf("event %d: %d, %v, want %d", l.Seq, v, err, want)
	}
	return ready
}

func ids(ls []message.Link) (out []message.ID) {
	for _, l := range ls {
		out = append(out, l.ID)
	}
	return out
}

func reload(t *testing.T, c *message.Chain) *message.Chain {
	t.Helper()
	again, err := message.DecodeChain(c.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Encode(), c.Encode()) {
		t.Fatal("a stored chain is another one")
	}
	return again
}

// TestChain_AnyOrderComesOutInOrder offers events in random order, twice, with
// the chain stored and read back between.
func TestChain_AnyOrderComesOutInOrder(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ls := links(200, 0)
		order := append(rng.Perm(len(ls)), rng.Perm(len(ls))...)
		c := new(message.Chain)
		var got []message.ID
		for i, n := range order {
			_, ready, err := c.Accept(ls[n])
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got = append(got, ready...)
			if i%17 == 0 {
				c = reload(t, c)
			}
		}
		if !slices.Equal(got, ids(ls)) {
			t.Fatalf("seed %d: out of order", seed)
		}
		if len(c.Gaps()) != 0 || c.Head() != ls[199] || c.Forked() != nil {
			t.Fatalf("seed %d: it ends with gaps %v", seed, c.Gaps())
		}
	}
}

func TestChain_ListsGaps(t *testing.T) {
	ls := links(10, 0)
	c := new(message.Chain)
	for _, n := range []int{0, 4, 8, 7} {
		c.Accept(ls[n])
	}
	if got, want := c.Gaps(), []message.Span{{2, 4}, {6, 7}}; !slices.Equal(got, want) {
		t.Errorf("gaps are %v, want %v", got, want)
	}
	accept(t, c, ls[4], message.Duplicate)
	accept(t, c, ls[1], message.InOrder)
	accept(t, c, ls[3], message.Waits)
	if got := accept(t, c, ls[2], message.InOrder); !slices.Equal(got, ids(ls[2:5])) {
		t.Errorf("%v came free", got)
	}
	if got, want := c.Gaps(), []message.Span{{6, 7}}; !slices.Equal(got, want) {
		t.Errorf("gaps are %v, want %v", got, want)
	}
}

func TestChain_TellsTwoHistoriesOfOneDevice(t *testing.T) {
	ls := links(6, 0)
	fork := links(6, 1)
	fork[3].Prev = ls[2].ID // shares the first three
	wantFork := func(c *message.Chain, l message.Link, seq uint64) {
		t.Helper()
		before := c.Head()
		_, ready, err := c.Accept(l)
		var f *message.ForkError
		if !errors.As(err, &f) || f.Seq != seq || f.Have == f.Got || ready != nil || c.Head() != before || c.Forked() == nil {
			t.Errorf("event %d: %v", l.Seq, err)
		}
	}
	c := new(message.Chain)
	for _, l := range ls[:4] {
		accept(t, c, l, message.InOrder)
	}
	wantFork(c, fork[3], 4) // the same number again
	wantFork(c, fork[4], 4) // its successor gives it away
	accept(t, c, ls[5], message.Waits)
	wantFork(c, fork[5], 6) // against one that waits
	accept(t, c, ls[4], message.InOrder)
	if c = reload(t, c); c.Forked() == nil || c.Forked().Seq != 4 {
		t.Errorf("the evidence is %v", c.Forked())
	}
	// One that waited turns out to be of the other history when its turn comes.
	c = new(message.Chain)
	for _, l := range ls[:3] {
		accept(t, c, l, message.InOrder)
	}
	accept(t, c, fork[4], message.Waits)
	if got := accept(t, c, ls[3], message.InOrder); !slices.Equal(got, ids(ls[3:4])) || c.Forked() == nil {
		t.Errorf("ready %v, evidence %v", got, c.Forked())
	}
	accept(t, c, ls[4], message.InOrder)
}

func TestChain_RefusesClocksThatNobodyHas(t *testing.T) {
	ls := links(3, 0)
	for name, clock := range map[string]uint64{"same": 2, "back": 1, "far": 2 + message.MaxClockStep + 1} {
		c := new(message.Chain)
		accept(t, c, ls[0], message.InOrder)
		l := ls[1]
		l.Clock = clock
		if _, _, err := c.Accept(l); err == nil {
			t.Errorf("%s: accepted", name)
		}
		accept(t, c, ls[1], message.InOrder)
	}
	if _, _, err := new(message.Chain).Accept(message.Link{}); err == nil {
		t.Error("an event without a place is accepted")
	}
}

func TestChain_BoundsWhatWaits(t *testing.T) {
	ls := links(message.MaxWaiting+10, 0)
	c := new(message.Chain)
	for _, l := range ls[1 : message.MaxWaiting+1] {
		accept(t, c, l, message.Waits)
	}
	var ahead *message.AheadError
	if _, _, err := c.Accept(ls[message.MaxWaiting+1]); !errors.As(err, &ahead) {
		t.Errorf("one too many waits: %v", err)
	}
	if n := len(c.Encode()); n > 112<<10 {
		t.Errorf("a full chain has %d bytes", n)
	}
	c = reload(t, c)
	if got := accept(t, c, ls[0], message.InOrder); len(got) != message.MaxWaiting+1 {
		t.Errorf("%d came free", len(got))
	}
	if _, _, err := c.Accept(message.Link{Seq: c.Head().Seq + message.MaxAhead + 1, Clock: 1 << 40}); !errors.As(err, &ahead) {
		t.Errorf("far ahead: %v", err)
	}
}

// TestChain_GivenUpEventsStillHaveToFit: a gap that was given up closes from
// behind, and takes nothing that does not belong there.
func TestChain_GivenUpEventsStillHaveToFit(t *testing.T) {
	ls := links(8, 0)
	c := new(message.Chain)
	accept(t, c, ls[0], message.InOrder)
	accept(t, c, ls[4], message.Waits)
	accept(t, c, ls[5], message.Waits)
	if got := c.GiveUp(); !slices.Equal(got, ids(ls[4:6])) {
		t.Fatalf("%v came free", got)
	}
	if got := c.Lost(); !slices.Equal(got, []message.Span{{2, 4}}) || c.Gaps() != nil {
		t.Fatalf("lost %v, gaps %v", got, c.Gaps())
	}
	c = reload(t, c)
	accept(t, c, ls[6], message.InOrder)
	var ahead *message.AheadError
	if _, _, err := c.Accept(ls[2]); !errors.As(err, &ahead) {
		t.Errorf("from the middle: %v", err)
	}
	other := links(8, 1)
	var f *message.ForkError
	if _, _, err := c.Accept(other[3]); !errors.As(err, &f) {
		t.Errorf("of another history: %v", err)
	}
	accept(t, c, ls[3], message.Late)
	accept(t, c, ls[2], message.Late)
	bent := ls[1]
	bent.Clock = 1
	if _, _, err := c.Accept(bent); err == nil || errors.As(err, &f) {
		t.Errorf("with a clock that does not fit: %v", err)
	}
	accept(t, c, ls[1], message.Late)
	if c.Lost() != nil {
		t.Errorf("still lost: %v", c.Lost())
	}
	accept(t, c, ls[1], message.Duplicate)
	accept(t, c, ls[3], message.Duplicate)
	if new(message.Chain).GiveUp() != nil {
		t.Error("nothing was given up, and something came of it")
	}
}

func TestChain_OldEventsAreLeftToTheStore(t *testing.T) {
	ls := links(100, 0)
	c := new(message.Chain)
	for _, l := range ls {
		accept(t, c, l, message.InOrder)
	}
	accept(t, c, ls[10], message.Old)
	accept(t, c, ls[36], message.Duplicate)
	accept(t, c, ls[35], message.Old)
}

func TestChain_NextFollowsWhatWasSeen(t *testing.T) {
	c := new(message.Chain)
	var last message.Place
	for i, seen := range []uint64{0, 0, 50, 10, 1 << 52, 1 << 52} {
		p, err := c.Next(seen)
		if err != nil {
			t.Fatal(err)
		}
		if p.Seq != uint64(i+1) || p.Clock <= last.Clock || seen < 1<<40 && p.Clock <= seen {
			t.Errorf("after %d: %+v", seen, p)
		}
		accept(t, c, message.Link{Seq: p.Seq, Clock: p.Clock, ID: id(uint64(i + 1)), Prev: p.Prev}, message.InOrder)
		last = p
	}
	if last.Clock != 51+1+2*message.MaxClockStep {
		t.Errorf("a clock far ahead is followed to %d", last.Clock)
	}
	first, err := new(message.Chain).Next(1 << 52)
	if err != nil || first.Clock != 1<<48 {
		t.Errorf("the first clock is %d, %v", first.Clock, err)
	}
}

// Whoever deletes a conversation and begins it again goes on, and asks for nothing.
func TestChain_BareGoesOnWhereItWas(t *testing.T) {
	ls := links(200, 0)
	c := new(message.Chain)
	for _, l := range ls[:100] {
		accept(t, c, l, message.InOrder)
	}
	accept(t, c, ls[150], message.Waits)
	bare := reload(t, c.Bare())
	if bare.Head() != ls[99] || len(bare.Gaps()) != 0 || len(bare.Encode()) > 256 {
		t.Errorf("head %v, gaps %v, %d bytes", bare.Head(), bare.Gaps(), len(bare.Encode()))
	}
	accept(t, bare, ls[98], message.Old)
	accept(t, bare, ls[100], message.InOrder)
	if none := reload(t, new(message.Chain).Bare()); none.Head() != (message.Link{}) {
		t.Errorf("head %v of nothing", none.Head())
	}
}

func FuzzDecodeChain(f *testing.F) {
	c := new(message.Chain)
	f.Add(c.Encode())
	ls := links(9, 0)
	for _, n := range []int{0, 1, 4, 6, 8} {
		c.Accept(ls[n])
	}
	f.Add(c.Encode())
	c.GiveUp()
	c.Accept(links(3, 1)[1])
	f.Add(c.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := message.DecodeChain(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), b) {
			t.Fatalf("%x does not encode back", b)
		}
		// Whatever was stored, the chain still works and stores again.
		for _, n := range []int{0, 3, 2, 5, 4, 8} {
			c.Accept(ls[n])
		}
		for range 3 {
			c.Gaps()
			c.GiveUp()
		}
		if _, err := message.DecodeChain(c.Encode()); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	})
}
