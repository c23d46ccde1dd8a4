package concierge

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

// What was promised to one upload no other can use up, however many come at once.
func TestMedia_SixteenUploadsAtOnceStayWithinTheQuota(t *testing.T) {
	limits := cheap()
	limits.MediaBytes, limits.VaultMediaBytes = 5*10_000, 15_000
	d := newDepot(t, limits)
	var kept, full atomic.Int64
	var wait sync.WaitGroup
	for range 16 {
		c := d.connect(d.alice)
		b := random(10_000)
		wait.Go(func() {
			switch _, err := d.keep(c, b); {
			case err == nil:
				kept.Add(1)
			case wire.CodeOf(err) == wire.Exhausted:
				full.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	alice := d.connect(d.alice)
	if p := d.pins(alice); kept.Load() != 5 || full.Load() != 11 || len(p.List) != 5 || p.Media != 50_000 {
		t.Errorf("%d were kept, %d refused, %+v", kept.Load(), full.Load(), p)
	}
	if n := d.files(); n != 10 {
		t.Errorf("%d files", n)
	}
	// The vault has a quota of its own.
	if _, err := d.keep(alice, random(10_000), func(u *Upload) { u.Keep = true }); err != nil {
		t.Errorf("for the vault: %v", err)
	}
	if _, err := d.keep(alice, random(10_000), func(u *Upload) { u.Keep = true }); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("more for the vault: %v", err)
	}
	d.must(alice.Unpin(t.Context(), d.pins(alice).List[0].ID))
	if _, err := d.keep(alice, random(10_000)); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}

func TestMedia_BoundsHowManyTinyFilesThereAre(t *testing.T) {
	d := newDepot(t, patient())
	alice := d.connect(d.alice)
	owner := OwnerOf(d.alice.ID, 1)
	_, err := d.server.changePins(t.Context(), owner, func(p *pins) error {
		for i := range MaxPins - 1 {
			p.List = append(p.List, Pin{ID: chunk.ID(random(32)), Size: 1<<32 - uint64(i), Until: 1 << 40, Begun: uint64(d.now().Unix())})
		}
		return nil
	})
	d.must(err) // the longest list fits its entry
	if _, err := d.server.changePins(t.Context(), owner, func(p *pins) error {
		for i := range p.List {
			p.List[i].Size = 1
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.keep(alice, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.keep(alice, []byte("b")); wire.CodeOf(err) != wire.Exhausted {
		t.Errorf("one more: %v", err)
	}
	if p := d.pins(alice); len(p.List) != MaxPins {
		t.Errorf("%d pins", len(p.List))
	}
	d.later(keepPromise + time.Hour) // promises that nobody kept
	if _, err := d.keep(alice, []byte("b")); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if p := d.pins(alice); len(p.List) != 2 {
		t.Errorf("%d pins", len(p.List))
	}
}

func TestMedia_GoesWhenItsTimeIsOver(t *testing.T) {
	d := newDepot(t, patient())
	alice, bob, guest := d.connect(d.alice), d.connect(d.bob), d.connect(nil)
	short, long, vault := random(5000), random(6000), random(7000)
	shortID, err := d.keep(alice, short, func(u *Upload) { u.TTL = time.Hour })
	d.must(err)
	longID, err := d.keep(alice, long, func(u *Upload) { u.TTL = 1000 * 24 * time.Hour })
	d.must(err)
	vaultID, err := d.keep(alice, vault, func(u *Upload) { u.TTL, u.Keep = time.Hour, true })
	d.must(err)
	_, err = d.keep(bob, short, func(u *Upload) { u.TTL = 3 * time.Hour })
	d.must(err)
	d.ticket(alice, chunk.ID{1}, 100)
	_, err = d.blob.Receive(chunk.ID{1}, blob.Owner(OwnerOf(d.alice.ID, 1)), 100, 0, strings.NewReader("part"))
	d.must(err)
	start := d.now()
	there := func(after time.Duration, want ...chunk.ID) {
		t.Helper()
		if wait := start.Add(after).Sub(d.now()); wait > 0 {
			d.later(wait)
		}
		keeper := d.server.newKeeper(t.Context())
		for i := range blob.Shards {
			_, err := d.server.sweepShard(byte(i), keeper)
			d.must(err)
		}
		for _, id := range []chunk.ID{shortID, longID, vaultID} {
			_, err := d.read(guest, id)
			wanted := false
			for _, w := range want {
				wanted = wanted || w == id
			}
			if (err == nil) != wanted {
				t.Errorf("after %v %v: %v", after, id, err)
			}
		}
	}
	there(0, shortID, longID, vaultID)
	there(2*time.Hour, shortID, longID, vaultID) // bob keeps it longer
	if p := d.pins(alice); p.Media != 6100 || p.Vault != 7000 {
		t.Errorf("%+v", p)
	}
	there(4*time.Hour, longID, vaultID)
	there(29*24*time.Hour, longID, vaultID)
	there(31*24*time.Hour, vaultID) // nobody keeps files for longer than the concierge does
	there(300*24*time.Hour, vaultID)
	if n := d.files(); n != 2 {
		t.Errorf("%d files are left", n)
	}
}

// TestMedia_SurvivesCrashes: whatever was done when the process ended, saying it
// again makes it whole.
func TestMedia_SurvivesCrashes(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	owner := OwnerOf(d.alice.ID, 1)
	b := random(chunk.Size + 9)
	id := contentID(b)
	size := uint64(len(b))
	check := func(what string) {
		t.Helper()
		if _, err := d.keep(alice, b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := d.read(alice, id); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %d bytes come back: %v", what, len(got), err)
		}
		p := d.pins(alice)
		if len(p.List) != 1 || p.Media != size || p.List[0].Begun != 0 || d.files() != 2 {
			t.Errorf("%s: %+v and %d files", what, p, d.files())
		}
		d.must(alice.Unpin(t.Context(), id))
		if p := d.pins(alice); len(p.List) != 0 || d.files() != 0 {
			t.Errorf("%s: %+v and %d files are left", what, p, d.files())
		}
	}
	d.ticket(alice, id, len(b))
	check("room was made")
	d.ticket(alice, id, len(b))
	_, err := d.blob.Receive(id, blob.Owner(owner), size, 0, bytes.NewReader(b[:1000]))
	d.must(err)
	check("some had come")
	d.ticket(alice, id, len(b))
	_, err = d.blob.Receive(id, blob.Owner(owner), size, 0, bytes.NewReader(b))
	d.must(err)
	check("all had come and nobody wrote it down")
	_, err = d.keep(alice, b)
	d.must(err)
	d.must(d.blob.Release(id, blob.Owner(owner)))
	d.ticket(alice, id, len(b))
	if p := d.pins(alice); p.List[0].Begun == 0 {
		t.Errorf("it is said to be here: %+v", p)
	}
	check("the disk was lost and the books were not")
	_, err = d.keep(alice, b)
	d.must(err)
	d.must(d.server.unpin(t.Context(), owner, id))
	_, err = d.server.sweepShard(id[0], d.server.newKeeper(t.Context()))
	d.must(err)
	if d.files() != 0 {
		t.Error("it was let go of in the books and stays on the disk")
	}
}

// Somebody lets go of a file while it comes: then it is not kept.
func TestMedia_IsNotKeptIfItsOwnerLetsGoMeanwhile(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(5000)
	id := contentID(b)
	a := d.ticket(alice, id, len(b))
	in, out := io.Pipe()
	status := make(chan int)
	go func() {
		code, _ := d.put(alice, id.String(), text(a), "0", in)
		status <- code
	}()
	out.Write(b[:100])
	d.eventually("some has come", func() bool {
		at, err := d.blob.Offset(id, blob.Owner(OwnerOf(d.alice.ID, 1)), uint64(len(b)))
		return at > 0 && err == nil
	})
	d.must(alice.Unpin(t.Context(), id))
	out.Write(b[100:])
	out.Close()
	if code := <-status; code != 404 || d.files() != 0 || len(d.pins(alice).List) != 0 {
		t.Errorf("status %d, %d files, %+v", code, d.files(), d.pins(alice))
	}
}

// To ask again never shortens what was promised.
func TestMedia_IsKeptForTheLongestThatWasAsked(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	b := random(100)
	for _, each := range []struct{ ask, want time.Duration }{{2 * time.Hour, 2 * time.Hour}, {time.Hour, 2 * time.Hour}, {5 * time.Hour, 5 * time.Hour}} {
		if _, err := d.keep(alice, b, func(u *Upload) { u.TTL = each.ask }); err != nil {
			t.Fatal(err)
		}
		if left := time.Duration(d.pins(alice).List[0].Until-uint64(d.now().Unix())) * time.Second; left != each.want {
			t.Errorf("asked for %v: it is kept for %v", each.ask, left)
		}
	}
	_, err := d.keep(alice, b, func(u *Upload) { u.Keep = true })
	d.must(err)
	_, err = d.keep(alice, b)
	d.must(err)
	if p := d.pins(alice); len(p.List) != 1 || p.List[0].Until != 0 || p.Media != 0 || p.Vault != 100 {
		t.Errorf("the vault's: %+v", p)
	}
}

func TestKeeper_ReadsAnewWhatItWouldLetGoOf(t *testing.T) {
	d := newDepot(t, cheap())
	alice := d.connect(d.alice)
	owner := blob.Owner(OwnerOf(d.alice.ID, 1))
	b := random(100)
	k := d.server.newKeeper(t.Context())
	for i, want := range []bool{false, true, true} {
		if i == 1 {
			_, err := d.keep(alice, b)
			d.must(err)
		}
		if keeps, err := k.keeps(contentID(b), owner); keeps != want || err != nil {
			t.Errorf("%d: %v, %v", i, keeps, err)
		}
	}
}
