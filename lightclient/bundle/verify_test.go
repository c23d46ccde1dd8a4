package bundle_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestVerify_BelievesFromThePin(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	v, err := w.verify(w.ask())
	if err != nil {
		t.Fatal(err)
	}
	m, err := v.Handle("alice")
	if err != nil {
		t.Fatal(err)
	}
	if m.Entry.Account != w.alice.ID || m.Status != namesvc.Active || m.Generation != 1 {
		t.Errorf("@alice is %+v", m)
	}
	service, err := v.Account(m.Entry.Records.Concierges[0].Account)
	if err != nil || service.Account != w.harbor.ID || service.Records.Service.URLs[0] != "https://harbor.example" {
		t.Errorf("its concierge is %+v, %v", service, err)
	}
	head, _ := w.Head(w.Height())
	switch {
	case v.Pin != w.Pin(1):
		t.Errorf("it stands on %v", v.Pin)
	case v.Trust.Pin() != w.Pin(w.Height()) || !v.Time.Equal(head.Header.Time.Std()):
		t.Errorf("the head is %v of %v", v.Trust.Pin(), v.Time)
	case v.Age != time.Second/2 || v.Assurance != bundle.Committed:
		t.Errorf("age %v, %v", v.Age, v.Assurance)
	}
}

func TestVerify_BelievesFromWhatIsKnown(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	b := w.about("alice", 1, 3)
	if b.Origin != nil || len(b.Steps) != 1 || b.Steps[0].Validators != nil {
		t.Fatalf("a reader who knows the validators gets more than a head: %v", b)
	}
	v, err := bundle.Verify(b.Encode(), w.knows(3), w.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Handle("alice"); err != nil || got.Entry.Account != w.alice.ID {
		t.Errorf("@alice is %+v, %v", got, err)
	}
	if v.Pin != w.Pin(1) {
		t.Errorf("it stands on %v, not on the pin that the knowledge began with", v.Pin)
	}
	// The very head that is known proves what is under it.
	same := w.about("alice", 1, w.Height())
	if _, err := bundle.Verify(same.Encode(), w.knows(w.Height()), w.Now()); err != nil {
		t.Errorf("under the known head: %v", err)
	}
}

// Every test here is a bundle that was made wrong on purpose, by somebody who
// has all of the chain's data and none of the validators' keys, unless it says
// otherwise.
func TestVerify_SaysWhyItRefuses(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	other := newWorld(t, fakechain.Spec{ID: "confab-other"})
	fork := w.Fork()
	fork.Skip(1)
	w.Skip(1)
	all := []int{0, 1, 2, 3}

	tests := map[string]struct {
		change func(b *bundle.Bundle)
		trust  func(t *bundle.Trust)
		later  time.Duration
		want   error
		kind   wire.Code
		text   string
	}{
		"too old":         {later: time.Minute, want: bundle.ErrStale, kind: wire.Stale, text: "1m1s old"},
		"beyond trusting": {later: 14 * 24 * time.Hour, want: verify.ErrExpired, kind: wire.Stale, text: "start from a newer pin"},
		"from the future": {later: -11 * time.Second, want: verify.ErrFuture, kind: wire.Unavailable},
		"of another chain": {change: func(b *bundle.Bundle) { *b = other.ask() },
			kind: wire.Invalid, text: `it is of chain "confab-other"`},
		"for another pin": {trust: func(t *bundle.Trust) { t.Pin = w.Pin(2) }, want: bundle.ErrOrigin, kind: wire.Invalid, text: "height 1"},
		"for a pin of a forked header": {trust: func(t *bundle.Trust) { t.Pin.Hash[0] ^= 1 },
			want: bundle.ErrOrigin, kind: wire.Invalid},
		"without the pinned header": {change: func(b *bundle.Bundle) { b.Origin = nil }, want: bundle.ErrOrigin, kind: wire.Invalid},
		"older than known, without the pinned header": {
			change: func(b *bundle.Bundle) {
				*b = w.about("alice", 1, 3)
				b.Steps = w.Steps(3, w.Height()-1)
			},
			trust: func(t *bundle.Trust) { t.Known = w.Chain.Trust(w.Height()) }, want: bundle.ErrOrigin, kind: wire.Invalid},
		"origin with other validators": {
			change: func(b *bundle.Bundle) { b.Origin.Validators = fakechain.Equal(40, 4).Validators },
			want:   bundle.ErrOrigin, kind: wire.Invalid},
		"origin with a changed header": {
			change: func(b *bundle.Bundle) {
				own := fakechain.Equal(40, 4)
				b.Origin.Header.ValidatorsHash, b.Origin.Validators = own.Hash(), own.Validators
			}, want: bundle.ErrOrigin, kind: wire.Invalid},
		"signed by half of the power": {
			change: func(b *bundle.Bundle) { fakechain.Equal(0, 4).Sign(&b.Steps[0].Head, 0, 1) },
			want:   verify.ErrPower, kind: wire.Invalid},
		"signed by nobody": {
			change: func(b *bundle.Bundle) { clear(b.Steps[0].Head.Commit.Votes) },
			want:   verify.ErrTrustedPower, kind: wire.Invalid},
		"signed by other keys": {
			change: func(b *bundle.Bundle) { fakechain.Equal(40, 4).Sign(&b.Steps[0].Head) },
			want:   verify.ErrSignature, kind: wire.Invalid},
		"with validators of their own": {
			change: func(b *bundle.Bundle) {
				own := fakechain.Equal(40, 4)
				h := &b.Steps[0].Head
				h.Header.ValidatorsHash, b.Steps[0].Validators = own.Hash(), &own.Validators
				own.Sign(h)
			}, want: verify.ErrTrustedPower, kind: wire.Invalid},
		"validators that the header does not name": {
			change: func(b *bundle.Bundle) { s := fakechain.Equal(1, 4); b.Steps[0].Validators = &s.Validators },
			want:   verify.ErrInvalid, kind: wire.Invalid},
		"votes swapped": {
			change: func(b *bundle.Bundle) { v := b.Steps[0].Head.Commit.Votes; v[0], v[1] = v[1], v[0] },
			want:   verify.ErrSignature, kind: wire.Invalid},
		"a forged state root": {
			change: func(b *bundle.Bundle) { b.Steps[0].Head.Header.AppHash = other.tree(t) },
			want:   verify.ErrSignature, kind: wire.Invalid},
		"heads out of order": {
			change: func(b *bundle.Bundle) { b.Steps = slices.Concat(w.Steps(1, w.Height()), w.Steps(1, w.Height()-1)) },
			want:   verify.ErrNotNewer, kind: wire.Stale},
		"two heads of one height, both signed": {
			change: func(b *bundle.Bundle) { b.Steps = append(b.Steps, fork.Steps(1, fork.Height())...) },
			want:   verify.ErrConflict, kind: wire.Conflict},
		"a leaf proven twice": {change: func(b *bundle.Bundle) { b.Leaves = append(b.Leaves, b.Leaves[1]) },
			kind: wire.Invalid, text: "proven twice"},
		"values swapped": {
			change: func(b *bundle.Bundle) { l := b.Leaves; l[1].Value, l[2].Value = l[2].Value, l[1].Value },
			want:   statetree.ErrProof, kind: wire.Invalid},
		"values and proofs swapped": {
			change: func(b *bundle.Bundle) {
				l := b.Leaves
				l[1].ID, l[2].ID = l[2].ID, l[1].ID
			}, want: statetree.ErrProof, kind: wire.Invalid},
		"a present leaf said to be absent": {change: func(b *bundle.Bundle) { b.Leaves[0].Value = nil },
			want: statetree.ErrProof, kind: wire.Invalid},
		"a present leaf said to be absent, itself in its place": {
			change: func(b *bundle.Bundle) { b.Leaves[0] = inItsOwnPlace(t, b.Leaves[0]) },
			want:   statetree.ErrProof, kind: wire.Invalid},
		"a proof under another height's root": {
			change: func(b *bundle.Bundle) {
				b.Leaves[1] = w.Leaf(4, namesvc.LeafAccount, w.harbor.ID[:])
				b.Leaves[1].ID, b.Leaves[1].Value = w.harbor.ID[:], b.Leaves[2].Value
				b.Leaves = b.Leaves[:2]
			}, want: statetree.ErrProof, kind: wire.Invalid},
		"a proof of another kind of leaf": {change: func(b *bundle.Bundle) { b.Leaves[1].Kind = namesvc.LeafDevices },
			want: statetree.ErrProof, kind: wire.Invalid},
		"a proof that is none": {change: func(b *bundle.Bundle) { b.Leaves[1].Proof = []byte{1} }, want: statetree.ErrProof, kind: wire.Invalid},
		"no heads":             {change: func(b *bundle.Bundle) { b.Steps = nil }, kind: wire.Invalid, text: "0 heads, 1 to 32"},
		"too many heads": {change: func(b *bundle.Bundle) { b.Steps = slices.Repeat(b.Steps, bundle.MaxSteps+1) },
			kind: wire.Invalid, text: "33 heads"},
		"too many leaves":              {change: func(b *bundle.Bundle) { b.Leaves = slices.Repeat(b.Leaves, 3) }, kind: wire.Invalid, text: "9 leaves"},
		"an anchor":                    {change: func(b *bundle.Bundle) { b.Anchor = []byte{1} }, kind: wire.Invalid, text: "anchor"},
		"a later version":              {change: func(b *bundle.Bundle) { b.Version = 2 }, kind: wire.Invalid, text: "version 2 is unknown"},
		"a long note":                  {change: func(b *bundle.Bundle) { b.About = strings.Repeat("a", 81) }, kind: wire.Invalid, text: "printable ASCII"},
		"a note that moves the cursor": {change: func(b *bundle.Bundle) { b.About = "@alice\x1b[2J" }, kind: wire.Invalid, text: "printable ASCII"},
		"a note in another script":     {change: func(b *bundle.Bundle) { b.About = "@аlice" }, kind: wire.Invalid, text: "printable ASCII"},
		"a long id":                    {change: func(b *bundle.Bundle) { b.Leaves[0].ID = make([]byte, 41) }, kind: wire.Invalid, text: "id is too long"},
		"too large": {change: func(b *bundle.Bundle) { b.Leaves[0].Value = make([]byte, bundle.MaxSize) },
			want: wire.ErrTooLarge, kind: wire.Invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := w.ask()
			votes := slices.Clone(b.Steps[0].Head.Commit.Votes)
			b.Steps[0].Head.Commit.Votes = votes
			trust := w.trust()
			if test.change != nil {
				test.change(&b)
			}
			if test.trust != nil {
				test.trust(&trust)
			}
			v, err := bundle.Verify(b.Encode(), trust, w.Now().Add(test.later))
			if err == nil {
				t.Fatalf("believed: %s", meaning(v, "alice"))
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if wire.CodeOf(err) != test.kind || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got kind %v: %v\nwant kind %v: …%s…", wire.CodeOf(err), err, test.kind, test.text)
			}
		})
	}
	// The world itself is in order, or all of the above would prove nothing.
	b := w.ask()
	fakechain.Equal(0, 4).Sign(&b.Steps[0].Head, all...)
	if _, err := w.verify(b); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// tree returns the newest state root.
func (w *world) tree(t *testing.T) [32]byte {
	t.Helper()
	h, _ := w.Head(w.Height())
	return h.Header.AppHash
}

// inItsOwnPlace makes of the proof that a leaf is present one that it is absent
// because the very same leaf stands in its place.
func inItsOwnPlace(t *testing.T, l bundle.Leaf) bundle.Leaf {
	t.Helper()
	p, err := statetree.UnmarshalProof(l.Proof)
	if err != nil {
		t.Fatal(err)
	}
	p.Other = &statetree.Leaf{Key: statetree.Key(namesvc.LeafKey(l.Kind, l.ID)), ValueHash: sha256.Sum256(l.Value)}
	if l.Proof, err = p.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	l.Value = nil
	return l
}

func TestVerify_RefusesHeadsThatLeaveAGap(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	for _, first := range []int{1, 2, 3, 4} { // nobody of the pin's set is left at the end
		w.SetValidators(fakechain.Equal(first, 4))
		w.Skip(3)
	}
	b := w.ask()
	if len(b.Steps) < 2 {
		t.Fatalf("the whole set changed, and yet the path has %d steps", len(b.Steps))
	}
	v, err := w.verify(b)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(meaning(v, "alice"), "@alice 1 active") {
		t.Errorf("@alice is %s", meaning(v, "alice"))
	}
	last := b.Steps[len(b.Steps)-1]
	if last.Validators == nil {
		t.Fatal("the last step does not bring its validators")
	}
	b.Steps = []bundle.Step{last}
	if _, err := w.verify(b); !errors.Is(err, verify.ErrTrustedPower) {
		t.Errorf("with a gap: %v", err)
	}
}

func TestVerify_FindsItsWayFromThePinWhereTheKnownLeadsNowhere(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	w.SetValidators(fakechain.Equal(3, 4))
	w.Skip(2)
	w.SetValidators(fakechain.Equal(6, 4))
	w.Skip(2)
	known := w.Height() // nobody of the pin's set signed it
	w.SetValidators(fakechain.Equal(3, 4))
	w.Skip(2)
	w.SetValidators(fakechain.Equal(0, 4)) // they are back
	w.Skip(2)
	b := w.ask()
	if len(b.Steps) != 1 || b.Steps[0].Validators != nil {
		t.Fatalf("from the pin it takes %d steps", len(b.Steps))
	}
	v, err := bundle.Verify(b.Encode(), w.knows(known), w.Now())
	if err != nil {
		t.Fatal(err)
	}
	if v.Trust.Height != w.Height() {
		t.Errorf("the head is of height %d", v.Trust.Height)
	}
	b.Origin = nil
	if _, err := bundle.Verify(b.Encode(), w.knows(known), w.Now()); err == nil {
		t.Error("without the pinned header it should lead nowhere")
	}
}

func TestVerify_TakesAnOlderHeadOnlyFromThePin(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	known := w.knows(w.Height())
	old, err := w.BundleAt(w.Height()-1, lightclient.Request{Handle: "alice", Pin: 1})
	w.do(err)
	v, err := bundle.Verify(old.Encode(), known, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	if v.Trust.Height != w.Height()-1 {
		t.Errorf("the head is of height %d", v.Trust.Height)
	}
	old.Origin = nil
	if _, err := bundle.Verify(old.Encode(), known, w.Now()); !errors.Is(err, bundle.ErrOrigin) {
		t.Errorf("without the pinned header: %v", err)
	}
}

// A path that begins at the pin could walk around what is known: past it is
// fine, through another header of its height is the proof of a fork.
func TestVerify_FindsAConflictWithWhatIsKnown(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	fork := w.Fork()
	fork.Skip(3)
	w.Skip(3)
	height := w.Height() - 2
	for name, b := range map[string]bundle.Bundle{
		"at the end": {Version: 1, Origin: fork.Origin(1), Steps: fork.Steps(1, height)},
		"on the way": {Version: 1, Origin: fork.Origin(1), Steps: slices.Concat(fork.Steps(1, height), fork.Steps(height, height+2))},
		"before it":  {Version: 1, Origin: fork.Origin(1), Steps: slices.Concat(fork.Steps(1, 3), fork.Steps(3, height))},
		"directly":   {Version: 1, Steps: fork.Steps(3, height)},
	} {
		_, err := bundle.Verify(b.Encode(), w.knows(height), w.Now())
		var conflict *verify.ConflictError
		if !errors.As(err, &conflict) || wire.CodeOf(err) != wire.Conflict {
			t.Errorf("%s: %v", name, err)
			continue
		}
		theirs, _ := fork.Head(height)
		if conflict.Trusted.Hash != w.Pin(height).Hash || conflict.Head.Header.Hash() != theirs.Header.Hash() {
			t.Errorf("%s: the error does not carry both sides", name)
		}
		if err := conflict.Head.Check(conflict.Validators); err != nil {
			t.Errorf("%s: the other side does not prove itself: %v", name, err)
		}
	}
}

// The proof of a fork must not get lost because the path from the pin, which is
// tried as well, leads nowhere.
func TestVerify_FindsAConflictWhereThePinLeadsNowhere(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	w.SetValidators(fakechain.Equal(3, 4))
	w.Skip(2)
	w.SetValidators(fakechain.Equal(6, 4))
	w.Skip(2)
	fork := w.Fork()
	fork.Skip(1)
	w.Skip(1)
	_, set := fork.Head(fork.Height())
	head, _ := fork.Head(fork.Height())
	b := bundle.Bundle{Version: 1, Origin: w.Origin(1), Steps: []bundle.Step{{Head: head, Validators: &set.Validators}}}
	if _, err := w.verify(b); !errors.Is(err, verify.ErrTrustedPower) {
		t.Fatalf("from the pin: %v", err)
	}
	if _, err := bundle.Verify(b.Encode(), w.knows(w.Height()), w.Now()); !errors.Is(err, verify.ErrConflict) {
		t.Errorf("from what is known: %v", err)
	}
}

// A state that contradicts itself is signed by a whole set that broke the law.
// Even then nobody is told that devices are an account's which its entry does
// not name.
func TestVerified_RefusesDevicesThatTheEntryDoesNotName(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	full, err := w.Bundle(lightclient.Request{Account: &w.alice.ID, Devices: true, Pin: 1})
	w.do(err)
	for _, honest := range []bool{true, false} {
		devices := full.Leaves[1].Value
		if !honest {
			d, err := namesvc.DecodeDevices(devices)
			w.do(err)
			d.List[0].Key[0] ^= 1
			devices = d.Encode()
		}
		b := lawless(t, w, map[byte][]byte{namesvc.LeafAccount: full.Leaves[0].Value, namesvc.LeafDevices: devices})
		v, err := w.verify(b)
		w.do(err)
		if _, err := v.Devices(w.alice.ID); honest != (err == nil) || err != nil && wire.CodeOf(err) != wire.Invalid {
			t.Errorf("honest %v: %v", honest, err)
		}
	}
}

// lawless returns a bundle of a state that consists of these leaves of @alice's
// alone, signed by all validators.
func lawless(t *testing.T, w *world, leaves map[byte][]byte) bundle.Bundle {
	t.Helper()
	tree := statetree.NewMem()
	var changes []statetree.Change
	for kind, value := range leaves {
		changes = append(changes, statetree.Change{Key: statetree.Key(namesvc.LeafKey(kind, w.alice.ID[:])), Value: value})
	}
	slices.SortFunc(changes, func(a, b statetree.Change) int { return a.Key.Compare(b.Key) })
	root, err := tree.Update(changes)
	w.do(err)
	b := bundle.Bundle{Version: 1, Origin: w.Origin(1), Steps: w.Steps(1, w.Height())}
	head := &b.Steps[len(b.Steps)-1].Head
	head.Header.AppHash = root
	fakechain.Equal(0, 4).Sign(head)
	for kind, value := range leaves {
		p, err := tree.Prove(statetree.Key(namesvc.LeafKey(kind, w.alice.ID[:])))
		w.do(err)
		proof, err := p.MarshalBinary()
		w.do(err)
		b.Leaves = append(b.Leaves, bundle.Leaf{Kind: kind, ID: w.alice.ID[:], Value: value, Proof: proof})
	}
	return b
}

func TestVerify_AnswersOnlyWhatItProves(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	full, err := w.Bundle(lightclient.Request{Handle: "alice", Devices: true, Pin: 1})
	w.do(err)
	v, err := w.verify(full)
	w.do(err)
	if d, err := v.Devices(w.alice.ID); err != nil || len(d.List) != 1 || d.List[0].Key != w.alice.Device.Public() {
		t.Errorf("devices: %+v, %v", d, err)
	}
	if _, err := v.Handle("bob"); !errors.Is(err, bundle.ErrNotCovered) {
		t.Errorf("another handle: %v", err)
	}
	if _, err := v.Account(w.harbor.ID); !errors.Is(err, bundle.ErrNotCovered) {
		t.Errorf("another account: %v", err)
	}
	var alike *namesvc.ConfusableError
	if _, err := v.Handle("a1ice"); !errors.As(err, &alike) || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a look-alike: %v", err)
	}

	// Leaving something out makes an answer impossible, never another one.
	partial := full
	partial.Leaves = full.Leaves[:1]
	v, err = w.verify(partial)
	w.do(err)
	if _, err := v.Handle("alice"); !errors.Is(err, bundle.ErrNotCovered) {
		t.Errorf("without the entry: %v", err)
	}
	partial.Leaves = full.Leaves[:2]
	v, err = w.verify(partial)
	w.do(err)
	if _, err := v.Devices(w.alice.ID); !errors.Is(err, bundle.ErrNotCovered) {
		t.Errorf("without the devices: %v", err)
	}
}

func TestVerify_ProvesAbsence(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	nobody := fakechain.NewActor("nobody", namesvc.Person)
	b := w.about("nobody", 1, 0)
	b.Leaves = append(b.Leaves, w.Leaf(w.Height(), namesvc.LeafAccount, nobody.ID[:]))
	v, err := w.verify(b)
	w.do(err)
	var missing *namesvc.NotFoundError
	if _, err := v.Handle("nobody"); !errors.As(err, &missing) || wire.CodeOf(err) != wire.NotFound {
		t.Errorf("handle: %v", err)
	}
	if _, err := v.Account(nobody.ID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("account: %v", err)
	}
	if d, err := v.Devices(nobody.ID); err != nil || len(d.List) != 0 {
		t.Errorf("devices: %v, %v", d, err)
	}
	if b, err := v.Leaf(namesvc.AccountKey(nobody.ID)); b != nil || err != nil {
		t.Errorf("leaf: %x, %v", b, err)
	}
	b.Leaves[0].Value = w.about("alice", 1, 0).Leaves[0].Value
	if _, err := w.verify(b); !errors.Is(err, statetree.ErrProof) {
		t.Errorf("an absent leaf with a value: %v", err)
	}
}

// What an account's own leaf says is read at the head's time too: nobody touched
// it since the lease ran out, and its handles may be others' by now.
func TestVerified_ReadsAnEntryAtTheTimeOfTheHead(t *testing.T) {
	p := namesvc.DevParams("confab-fake")
	p.WorkBits, p.WorkKiB = 0, 8
	p.Probation, p.Liveness, p.Dormant = 60, 60, 60
	w := newWorld(t, fakechain.Spec{Params: p})
	held := func() []namesvc.Lease {
		b, err := w.Bundle(lightclient.Request{Account: &w.alice.ID, Pin: 1})
		w.do(err)
		v, err := w.verify(b)
		w.do(err)
		e, err := v.Account(w.alice.ID)
		w.do(err)
		return e.Handles
	}
	if n := len(held()); n != 1 {
		t.Errorf("at first it has %d handles", n)
	}
	w.Cut(w.Now().Add(time.Hour))
	w.Skip(2)
	if n := len(held()); n != 0 {
		t.Errorf("an hour later, when it has lapsed, it has %d handles", n)
	}
}

// The head is the time of an answer: a reader whose clock is behind within the
// allowed drift sees age 0, not a negative one.
func TestVerify_MeasuresAgeFromTheHead(t *testing.T) {
	w := newWorld(t, fakechain.Spec{})
	b := w.ask().Encode()
	head, _ := w.Head(w.Height())
	at := head.Header.Time.Std()
	for _, test := range []struct {
		now    time.Time
		maxAge time.Duration
		age    time.Duration
		ok     bool
	}{
		{at.Add(-5 * time.Second), time.Second, 0, true},
		{at, time.Second, 0, true},
		{at.Add(time.Second), time.Second, time.Second, true},
		{at.Add(time.Second + 1), time.Second, 0, false},
		{at.Add(time.Hour), 0, time.Hour, true},       // 0 is the trusting period
		{at.Add(time.Hour), 1 << 62, time.Hour, true}, // more than that is no more
		{at.Add(14*24*time.Hour - 20*time.Second), 1 << 62, 14*24*time.Hour - 20*time.Second, true},
		{at.Add(14*24*time.Hour + 1), 1 << 62, 0, false},
	} {
		trust := w.trust()
		trust.MaxAge = test.maxAge
		trust.Known = w.Chain.Trust(w.Height())
		v, err := bundle.Verify(b, trust, test.now)
		switch {
		case (err == nil) != test.ok:
			t.Errorf("%v after, at most %v: %v", test.now.Sub(at), test.maxAge, err)
		case err == nil && v.Age != test.age:
			t.Errorf("%v after: age %v, want %v", test.now.Sub(at), v.Age, test.age)
		case err != nil && wire.CodeOf(err) != wire.Stale:
			t.Errorf("%v after: %v", test.now.Sub(at), err)
		}
	}
}
