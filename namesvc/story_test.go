package namesvc_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/namesvc"
)

// tellStory runs a script that is too long or too odd for a file.
func tellStory(t *testing.T, text string) *namescript.Law {
	t.Helper()
	s, err := namescript.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	law := newLaw(t, s.Params)
	if _, err := namescript.Run(s, law); err != nil {
		t.Fatal(err)
	}
	return law
}

// TestDevices_ForgetsTheOldestOfManyRemovedKeys: the marks are bounded, and the
// bound must not stop an account that has had many devices.
func TestDevices_ForgetsTheOldestOfManyRemovedKeys(t *testing.T) {
	var b strings.Builder
	b.WriteString("actor alice person\nregister alice @alice => ok\n")
	for round := range 5 {
		b.WriteString("devices alice")
		for i := range namesvc.MaxDevices {
			fmt.Fprintf(&b, " k%d", round*namesvc.MaxDevices+i)
		}
		b.WriteString(" => ok\nblock\n")
	}
	// 64 have left by now, those of the first four rounds; with those of the
	// fifth the first sixteen are forgotten.
	b.WriteString("devices alice k0 => device-removed\n")
	b.WriteString("devices alice => ok\nblock\n")
	b.WriteString("devices alice k16 => device-removed\n")
	b.WriteString("devices alice k15 => ok\nblock\nentry alice => devices=k15 device-seq=7\n")
	tellStory(t, b.String())
}

// TestLease_IsNeverShortened: an op that comes before the lease has run down to
// its own length leaves it as it is.
func TestLease_IsNeverShortened(t *testing.T) {
	tellStory(t, `
params probation=60d liveness=30d
actor harbor service
actor alice person
register harbor @harbor device=d1 role=concierge url=https://a.example => ok
entry harbor => expires=+60d
register alice @alice => ok
time +10d
block
devices alice d1 => ok
records alice concierge=harbor => ok
block
entry alice => expires=+4319998s
`[1:]) // fifty days, less two blocks of a second
}

// TestWork_CountsForTheChallengeAtHand: a validator remembers what it computed
// for a parsed commit, but a new digest makes a new challenge.
func TestWork_CountsForTheChallengeAtHand(t *testing.T) {
	s := newTale(t)
	s.params.WorkBits = 6
	s.law = newLaw(t, s.params)
	s.commit("commit", "", []byte("anything"))
	commit := s.ops.Vectors[0].Bytes
	kept, fault := namesvc.Parse(commit)
	if fault != nil {
		t.Fatal(fault)
	}
	refused := 0
	for i := range byte(8) {
		law := s.law
		if i > 0 {
			var err error
			alone := []namesvc.Validator{{Key: [33]byte{2}, Power: 1}}
			if law, err = namescript.BeginLaw(s.params, alone, sha256.Sum256([]byte{i}), 1000); err != nil {
				t.Fatal(err)
			}
		}
		fresh, _ := namesvc.Parse(commit)
		var got [2]namesvc.RejectCode
		for j, tx := range []*namesvc.Tx{kept, fresh} {
			r, err := namesvc.ApplyBlock(namesvc.Rules, namesvc.NewOverlay(law), law.Next(1), []*namesvc.Tx{tx})
			if err != nil {
				t.Fatal(err)
			}
			got[j] = r[0].Code
		}
		if got[0] != got[1] {
			t.Errorf("seed %d: %v from memory, %v afresh", i, got[0], got[1])
		}
		if got[1] == namesvc.NotEnoughWork {
			refused++
		}
	}
	if refused == 0 {
		t.Error("the work counts under every seed")
	}
}

// TestRegister_ManyAtOnce fills a block with registrations of one handle, all of
// one height: exactly one wins, whatever the order, and the rest leave no trace.
func TestRegister_ManyAtOnce(t *testing.T) {
	const crowd = 12
	var b strings.Builder
	for i := range crowd {
		fmt.Fprintf(&b, "actor p%d person\n", i)
	}
	for i := range crowd {
		fmt.Fprintf(&b, "commit p%d @wanted => ok\n", i)
	}
	b.WriteString("block\n")
	s, err := namescript.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	law := newLaw(t, s.Params)
	w := &watched{law: law, t: t, params: s.Params, accepted: map[namesvc.OpKind]int{}, codes: map[namesvc.RejectCode]int{}, watching: true}
	r := namescript.NewRunner(s.Params, w)
	for _, l := range s.Lines {
		if err := r.Do(l); err != nil {
			t.Fatal(err)
		}
	}
	for i := range crowd {
		if err := r.Do(namescript.Line{Verb: "reveal", Args: []string{fmt.Sprintf("p%d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Do(namescript.Line{Verb: "block"}); err != nil {
		t.Fatal(err)
	}
	if w.accepted[namesvc.OpRegister] != 1 || w.codes[namesvc.HandleTaken] != crowd-1 {
		t.Errorf("%v, %v", w.accepted, w.codes)
	}
}

// TestCommit_WorkIsGoodOnce: a commit is unsigned, so anybody can send it again
// with another expiry. If the work in it counted again, a few old commits would
// be enough to drive up what everybody has to pay.
func TestCommit_WorkIsGoodOnce(t *testing.T) {
	tellStory(t, `
params reveal=3 checkpoint=10 work_bits=4
actor alice person
actor bob person
actor carol person
commit alice @alice => ok
block x5
replay alice.commit window=+3 => commit-exists
block
# Later commits sweep away what is dead, but not what could live again.
commit bob @bobby => ok
commit carol @carol => ok
block
replay alice.commit window=+3 => commit-exists
block
meter => commits=3 waiting=3
checkpoint
replay alice.commit window=+3 => commit-exists
block
# Only when the work itself is stale is the commit forgotten.
checkpoint
replay alice.commit window=+3 => commit-exists
commit alice @alice as=again => ok
commit bob @bobby as=again2 => ok
block
replay alice.commit window=+3 => stale-checkpoint
replay bob.commit window=+3 => stale-checkpoint
replay carol.commit window=+3 => stale-checkpoint
block
meter => commits=5 waiting=2
`[1:])
	// The block that records a checkpoint may carry a commit that is bound to it
	// already, and that must be remembered for one checkpoint longer.
	tellStory(t, `
params reveal=3 checkpoint=10
actor alice person
actor bob person
block x10
commit alice @alice checkpoint=+1 => ok
block
meter => checkpoint=1 waiting=1
checkpoint
commit bob @bobby => ok
block
replay alice.commit window=+3 => commit-exists
block
meter => checkpoint=2 waiting=2
checkpoint
commit bob @bobby as=again => ok
block
replay alice.commit window=+3 => stale-checkpoint
block
meter => checkpoint=3 waiting=2
`[1:])
}
