package main

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
)

func TestProofVerify_TellsWhatAProofSaysOfTheChain(t *testing.T) {
	p := namesvc.DevParams("confab-fake")
	p.Checkpoint = 5
	c := fakechain.New(fakechain.Spec{Params: p})
	c.Skip(12)
	read := func(b bundle.Bundle) *bundle.Verified {
		t.Helper()
		v, err := bundle.Verify(b.Encode(), bundle.Trust{Pin: c.Pin(1), Rules: verify.DefaultRules(), MaxAge: time.Hour}, c.Now())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, ask := range []lightclient.Request{{At: 7, Pin: 1}, {Chain: true, Pin: 1}} {
		b, err := c.Bundle(ask)
		if err != nil {
			t.Fatal(err)
		}
		height := c.Height()
		if ask.At > 0 {
			height = ask.At
		}
		out, ok, err := viewChain(b.About, read(b))
		if err != nil || !ok || out.Block != c.Pin(height).String() || out.Validators != 4 || out.Checkpoint != nil {
			t.Errorf("%s: %+v %v %v", b.About, out, ok, err)
		}
	}
	b, err := c.Bundle(lightclient.Request{Chain: true, Pin: 1})
	if err != nil {
		t.Fatal(err)
	}
	for n, known := range map[uint64]bool{2: true, 9: false} {
		b.About = "checkpoint 2"
		if !known {
			b.About = "checkpoint 9"
		}
		b.Leaves = []bundle.Leaf{c.Leaf(c.Height(), namesvc.LeafCheckpoint, namesvc.CheckpointID(n))}
		out, ok, err := viewChain(b.About, read(b))
		if err != nil || !ok || (out.Checkpoint != nil) != known {
			t.Fatalf("%s: %+v %v %v", b.About, out, ok, err)
		}
		digest := c.Checkpoint(2).Digest(verify.ChainTag(c.ID()))
		if known && (out.Checkpoint.Height != 10 || out.Checkpoint.Digest != hex.EncodeToString(digest[:])) {
			t.Errorf("checkpoint 2 is shown as %+v", out.Checkpoint)
		}
	}
	b.About = "checkpoint 3"
	if _, _, err := viewChain(b.About, read(b)); err == nil {
		t.Error("a proof that does not cover the checkpoint it names is shown")
	}
	if _, ok, _ := viewChain("checkpoint x", read(b)); ok {
		t.Error("anything is taken for a checkpoint")
	}
}
