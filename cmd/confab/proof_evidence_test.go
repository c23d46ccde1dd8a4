package main

import (
	"fmt"
	"testing"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestProofEvidence_BelievesOnlyWhatThePinProves(t *testing.T) {
	w := newWorld(t)
	main := fakechain.New(fakechain.Spec{})
	main.Skip(4)
	fork := main.Fork()
	main.Skip(2)
	fork.Skip(2)
	pin, height := main.Pin(1), main.Height()
	found := uint64(main.Now().Unix())
	side := func(name string, c *fakechain.Chain) lightclient.Side {
		b, err := c.Bundle(lightclient.Request{At: height, Pin: 1})
		if err != nil {
			t.Fatal(err)
		}
		return lightclient.Side{Source: name, Bundle: b.Encode()}
	}
	good := lightclient.Evidence{Version: 1, Pin: pin, Height: height, Found: found, Sides: [2]lightclient.Side{
		side("http://main", main), side("http://fork\x1b[2J", fork),
	}}
	write := func(name string, e lightclient.Evidence) { w.write(name, string(wire.Encode(e))) }
	write("good", good)
	s := w.run("proof evidence --pin " + pin.String() + " FILE/good").ok()
	first, second := *main.Trust(height), *fork.Trust(height)
	if !s.shows("header", fmt.Sprintf("%x", first.Hash)+", from http://main") || !s.shows("header", fmt.Sprintf("%x", second.Hash)+", from http://fork[2J") {
		t.Errorf("it says\n%s", s.stdout)
	}
	var v evidenceView
	w.run("proof evidence --json --pin " + pin.String() + " FILE/good").ok().decode(&v)
	if v.Height != height || v.Headers != [2]string{fmt.Sprintf("%x", first.Hash), fmt.Sprintf("%x", second.Hash)} {
		t.Errorf("as JSON it is %+v", v)
	}

	bad := good
	bad.Sides[1] = good.Sides[0]
	write("same", bad)
	w.run("proof evidence --pin "+pin.String()+" FILE/same").fails(10, "both sides are the same header")
	bad = good
	invented := first
	invented.Hash[0] ^= 1
	bad.Sides[1] = lightclient.Side{Source: "what was verified before", From: &invented}
	write("invented", bad)
	w.run("proof evidence --pin "+pin.String()+" FILE/invented").fails(10, "which anyone could make up")
	w.run("proof evidence --pin "+main.Pin(2).String()+" FILE/good").fails(10, "and not for yours")
	w.write("none", "\xa0")
	w.run("proof evidence --pin "+pin.String()+" FILE/none").fails(10, "evidence: ")
	w.run("proof evidence --pin "+pin.String()+" FILE/nothing").fails(12, "is not there")
	w.run("proof evidence FILE/good").fails(10, "which pin?")
}
