package e2ee_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/message"
)

func TestSession_DevicesOfTwoPeopleTalk(t *testing.T) {
	for _, n := range []struct{ a, b int }{{1, 1}, {2, 3}, {namesvc.MaxDevices, namesvc.MaxDevices}} {
		_, all := pair(t, n.a, n.b)
		for _, from := range []*device{all[0], all[len(all)-1]} {
			m := from.say("hello")
			for _, to := range all {
				if to != from {
					to.hears(m, from, "hello")
				}
			}
		}
	}
}

// TestSession_SurvivesARestartAtEveryStep: what is stored is all there is.
func TestSession_SurvivesARestartAtEveryStep(t *testing.T) {
	w, all := pair(t, 2, 2)
	restart := func() {
		for _, d := range all {
			if d.s != nil {
				d.reload()
			}
		}
	}
	talk := func(text string) {
		for _, from := range all {
			restart()
			m := from.say(text)
			restart()
			for _, to := range all {
				if to == from {
					continue
				}
				to.hears(m, from, text)
				to.reload()
				if _, err := to.s.Open(m); !errors.Is(err, e2ee.ErrSpent) {
					t.Fatalf("what was read is read again: %v", err)
				}
			}
		}
	}
	talk("one")
	gone := all[1]
	w.delist(gone)
	all = slices.Delete(all, 1, 2)
	joiner := w.device(party(2), all[0].parties...)
	restart()
	c := all[0].commit(joiner)
	restart()
	for _, d := range all[1:] {
		d.follow(c.Message)
	}
	again, err := all[1].s.Open(c.Message)
	w.refused(err, e2ee.ErrLate)
	if again.Change != nil {
		t.Error("a commit counts twice")
	}
	all[0].resume(c)
	joiner.enter(c.Welcome)
	all = append(all, joiner)
	talk("two")
}

// resume merges an own commit after a restart between the slot and the merge.
func (d *device) resume(c *e2ee.Change) {
	d.w.t.Helper()
	b, err := c.MarshalBinary()
	d.w.ok(err)
	d.reload()
	again, err := d.s.LoadChange(b)
	d.w.ok(err)
	if again.Epoch != c.Epoch || !bytes.Equal(again.Message, c.Message) || !bytes.Equal(again.Welcome, c.Welcome) || !bytes.Equal(again.Slot, c.Slot) ||
		again.From != c.From || !slices.Equal(again.Added, c.Added) || !slices.Equal(again.Removed, c.Removed) {
		d.w.t.Fatalf("%+v came back as %+v", c, again)
	}
	d.merge(again)
}

func TestChange_IsLoadedInItsEpochOnly(t *testing.T) {
	w, all := pair(t, 1, 1)
	a, b := all[0], all[1]
	c := a.commit()
	stored, err := c.MarshalBinary()
	w.ok(err)
	if _, err := b.s.LoadChange(stored); err == nil {
		// It is staged on the same epoch, but with another member's keys.
		t.Error("another member loads it")
	}
	o, err := b.s.Open(c.Message)
	w.ok(err)
	if _, err := o.Change.MarshalBinary(); err == nil {
		t.Error("a change of somebody else is stored")
	}
	for _, n := range []int{0, 1, len(stored) / 2, len(stored) - 1} {
		if _, err := a.s.LoadChange(stored[:n]); err == nil {
			t.Errorf("loaded from %d of %d bytes", n, len(stored))
		}
	}
	rival := b.commit()
	a.follow(rival.Message)
	if c, err := a.s.LoadChange(stored); !errors.Is(err, e2ee.ErrLate) || c != nil {
		t.Errorf("loaded in the next epoch: %v", err)
	}
	w.refused(a.s.Merge(c), e2ee.ErrLate)
}

// TestCommit_DoesWhatIsDue adds and removes in one step, and shows what each sees.
func TestCommit_DoesWhatIsDue(t *testing.T) {
	w, all := pair(t, 2, 2)
	a, gone, b, alsoGone := all[0], all[1], all[2], all[3]
	joiner := w.device(party(1), a.parties...)
	w.delist(gone)
	w.delist(alsoGone)
	w.device(party(3)) // other people's devices count for nothing
	later := w.unlisted(message.Party{Account: party(1).Account, Generation: 2})
	w.listed = append(w.listed, later.member, joiner.member) // nor does another generation, nor saying it twice
	remove, add := b.s.Due(w.listed)
	if !slices.Equal(remove, []e2ee.Member{gone.member, alsoGone.member}) || !slices.Equal(add, []e2ee.Member{joiner.member}) {
		t.Fatalf("due: %v, %v", remove, add)
	}
	before := gone.say("before")
	c := a.commit(joiner)
	if c.Epoch != 1 || c.From != a.member || !slices.Equal(c.Added, add) || !slices.Equal(c.Removed, remove) || c.Welcome == nil {
		t.Errorf("%v", c)
	}
	for _, d := range []*device{b, gone, alsoGone} {
		o, err := d.s.Open(c.Message)
		w.ok(err)
		if !o.From.Is(a.member) || !slices.Equal(o.Change.Added, add) || !slices.Equal(o.Change.Removed, remove) || o.Change.Epoch != 1 {
			t.Errorf("%v sees %+v", d, o.Change)
		}
		d.merge(o.Change)
		d.reload()
		if d.s.Removed() != (d != b) {
			t.Errorf("%v: removed is %v", d, d.s.Removed())
		}
	}
	a.merge(c)
	joiner.enter(c.Welcome)
	if remove, add := a.s.Due(w.listed); remove != nil || add != nil {
		t.Errorf("still due: %v, %v", remove, add)
	}
	m := a.say("after")
	b.hears(m, a, "after")
	joiner.hears(m, a, "after")
	// Who was removed reads what was said before, and no more.
	alsoGone.hears(before, gone, "before")
	_, err := gone.s.Open(m)
	w.refused(err, e2ee.ErrBroken)
	e := gone.event("after")
	_, err = gone.s.Seal(w.src, e2ee.Payload{Event: &e})
	w.refused(err, e2ee.ErrBroken)
	_, err = gone.s.Commit(w.src, now(), w.listed, nil)
	w.refused(err, e2ee.ErrBroken)
	a.hears(before, gone, "before") // late, and still from a member of that epoch
}

// TestCommit_OneOfTwoRivalsWins: both are made, the slot takes one, and whoever
// lost drops his own and follows.
func TestCommit_OneOfTwoRivalsWins(t *testing.T) {
	w, all := pair(t, 2, 1)
	first, second := all[0].commit(), all[2].commit()
	all[0].follow(second.Message)
	all[1].follow(second.Message)
	all[2].merge(second)
	if _, err := all[2].s.Open(first.Message); !errors.Is(err, e2ee.ErrLate) {
		t.Errorf("the other one: %v", err)
	}
	w.refused(all[0].s.Merge(first), e2ee.ErrLate)
	m := all[0].say("hello")
	all[1].hears(m, all[0], "hello")
	all[2].hears(m, all[0], "hello")
}

// TestCommit_TellsTheNewSeq: a leaf's sequence follows when its device commits.
func TestCommit_TellsTheNewSeq(t *testing.T) {
	w, all := pair(t, 1, 1)
	all[0].member.Seq = 5
	all[0].reload()
	c := all[0].commit()
	all[0].merge(c)
	all[1].follow(c.Message)
	if i := slices.IndexFunc(all[1].s.Members(), all[0].member.Is); i < 0 || all[1].s.Members()[i].Seq != 5 {
		t.Errorf("members are %v", all[1].s.Members())
	}
	_ = w
}
