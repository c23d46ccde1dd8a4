package fakechain_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// tell makes a chain with a change of validators and a checkpoint.
func tell(t *testing.T) *fakechain.Chain {
	t.Helper()
	c := fakechain.New(fakechain.Spec{Fill: 10})
	if err := c.Register(fakechain.NewActor("alice", namesvc.Person), "alice", nil); err != nil {
		t.Fatal(err)
	}
	c.SetValidators(fakechain.Equal(2, 4))
	c.Skip(40)
	return c
}

func TestChain_HoldsWhatAChainMustHold(t *testing.T) {
	c := tell(t)
	rules := verify.Rules{TrustingPeriod: time.Hour, MaxClockDrift: time.Second}
	at := *c.Trust(1)
	for height := uint64(1); height <= c.Height(); height++ {
		h, set := c.Head(height)
		if err := h.CheckAll(set.Validators); err != nil {
			t.Fatal(err)
		}
		next, err := verify.Advance(at, h, set.Validators, c.Now(), rules)
		if err != nil {
			t.Fatalf("height %d: %v", height, err)
		}
		at = next
	}
	b, err := c.Bundle(lightclient.Request{Handle: "alice", Pin: 1})
	if err != nil {
		t.Fatal(err)
	}
	v, err := bundle.Verify(b.Encode(), bundle.Trust{Pin: c.Pin(1), Rules: rules}, c.Now())
	if err != nil {
		t.Fatal(err)
	}
	if m, err := v.Handle("alice"); err != nil || m.Handle != "alice" {
		t.Errorf("%+v, %v", m, err)
	}
	cp := c.Checkpoint(2)
	_, set := c.Head(cp.Height)
	if power, err := verify.CheckSeals(c.ID(), cp, set.Seal(c.ID(), cp), set.Validators); err != nil || power != 40 {
		t.Errorf("seals of %+v: %d, %v", cp, power, err)
	}
}

func TestChain_MadeTwiceHasTheSameBytes(t *testing.T) {
	a, b := tell(t), tell(t)
	if a.Pin(a.Height()) != b.Pin(b.Height()) {
		t.Error("two chains of one making differ")
	}
	f := a.Fork()
	a.Skip(1)
	f.Skip(1)
	if a.Pin(a.Height()) == f.Pin(f.Height()) || a.Pin(a.Height()-1) != f.Pin(f.Height()-1) {
		t.Error("a fork does not begin where it was made")
	}
	b.Skip(1)
	if a.Pin(a.Height()) != b.Pin(b.Height()) {
		t.Error("a fork has changed the chain that it was made of")
	}
}

func TestNode_TakesAnswersAndRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakechain.New(fakechain.Spec{Start: time.Now()})
		alice := fakechain.NewActor("alice", namesvc.Person)
		n := fakechain.Node{Chain: c, Label: "n"}
		commit, register := c.Registration(alice, "alice", nil)
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx, time.Second); close(ended) }()
		defer func() { cancel(); <-ended }()

		var reject *lightclient.RejectError
		if err := n.Submit(ctx, register); !errors.As(err, &reject) || reject.Code != namesvc.NoCommit {
			t.Errorf("a register op before its commit: %v", err)
		}
		if err := n.Submit(ctx, commit); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Bundle(ctx, lightclient.Request{Chain: true, Pin: 1, After: c.Height()}); err != nil {
			t.Fatal(err)
		}
		if err := n.Submit(ctx, register); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Bundle(ctx, lightclient.Request{Chain: true, Pin: 1, At: c.Height() + 9}); wire.CodeOf(err) != wire.Unavailable {
			t.Errorf("a head that does not come: %v", err)
		}
		ops, more, err := n.Ops(ctx, alice.ID, 0)
		if err != nil || more || len(ops) != 1 || !bytes.Equal(ops[0].Bytes, register) {
			t.Errorf("%d ops, %v, %v", len(ops), more, err)
		}
	})
}
