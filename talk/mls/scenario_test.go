package mls_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/cryptotest"

	"github.com/confab-chat/confab/talk/mls"
)

var update = flag.Bool("update", false, "write docs/vectors/mls_scenarios.json anew")

const scenarioFile = "../../docs/vectors/mls_scenarios.json"

// record plays a small group and writes down what one member, who joins second
// to last, would have to follow.
func record(t *testing.T, suite mls.CipherSuite) mls.Scenario {
	w := newWorld(t, suite, 200)
	w.psks["psk"] = []byte("external key")
	all := groupOf(w, 3)
	passive := w.client()
	k, secrets := passive.offer()
	raw, err := secrets.MarshalBinary()
	w.ok(err)
	psk, err := mls.ExternalPSKProposal(w.rand(), []byte("psk"))
	w.ok(err)
	out := all[0].commit(mls.CommitOptions{Path: true, TreeOutside: true, Proposals: []mls.Proposal{mls.AddProposal(k), psk}})
	all[0].merge(out.Staged)
	all[1].follow(out.Message)
	all[2].follow(out.Message)
	tree := mls.Hex(all[0].group.RatchetTree())
	s := mls.Scenario{CipherSuite: suite, ExternalPSKs: []mls.ScenarioPSK{{ID: mls.Hex("psk"), PSK: w.psks["psk"]}},
		KeyPackage: k.Message(), SignaturePriv: mls.Hex(passive.key.Seed()), InitPriv: raw[1:33], Encryption: raw[34:66],
		Welcome: out.Welcome, RatchetTree: &tree, InitialEpochAuthenticator: all[0].group.EpochAuthenticator()}
	step := func(from *client, o mls.CommitOptions, proposals ...[]byte) {
		t.Helper()
		out := from.commit(o)
		from.merge(out.Staged)
		for _, c := range without(all, from) {
			c.follow(out.Message)
		}
		e := mls.ScenarioEpoch{Proposals: []mls.Hex{}, Commit: out.Message, EpochAuthenticator: from.group.EpochAuthenticator()}
		for _, p := range proposals {
			e.Proposals = append(e.Proposals, p)
		}
		s.Epochs = append(s.Epochs, e)
	}
	step(all[1], mls.CommitOptions{Path: true})
	p, err := all[2].group.ProposeUpdate(w.rand(), nil, nil, mls.Framing{})
	w.ok(err)
	all[2].save()
	all[0].mustReceive(p)
	all[1].mustReceive(p)
	step(all[0], mls.CommitOptions{}, p)
	last := w.client()
	k, _ = last.offer()
	step(all[2], mls.CommitOptions{Framing: mls.Framing{Public: true}, Proposals: []mls.Proposal{mls.AddProposal(k)}})
	gone := all[1].group.Self()
	leaver := all[1]
	out = all[0].commit(mls.CommitOptions{Proposals: []mls.Proposal{mls.RemoveProposal(gone)}})
	all[0].merge(out.Staged)
	for _, c := range all[1:] {
		c.follow(out.Message)
	}
	s.Epochs = append(s.Epochs, mls.ScenarioEpoch{Proposals: []mls.Hex{}, Commit: out.Message, EpochAuthenticator: all[0].group.EpochAuthenticator()})
	all = without(all, leaver)
	resumption, err := mls.ResumptionPSKProposal(w.rand(), []byte("group"), all[0].group.Epoch()-1)
	w.ok(err)
	step(all[1], mls.CommitOptions{Proposals: []mls.Proposal{resumption}})
	return s
}

// TestVectors_OwnScenarios plays docs/vectors/mls_scenarios.json. For the
// suites whose randomness is all an argument it also makes the file again.
func TestVectors_OwnScenarios(t *testing.T) {
	var made []mls.Scenario
	for i, suite := range mls.Suites() {
		cryptotest.SetGlobalRandom(t, uint64(i)) // for X-Wing
		made = append(made, record(t, suite))
	}
	if *update {
		b, err := json.MarshalIndent(made, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(scenarioFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(scenarioFile)
	if err != nil {
		t.Fatal(err)
	}
	list, err := mls.ParseScenarios(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(mls.Suites()) {
		t.Fatalf("%d scenarios, want one for each suite", len(list))
	}
	for i, s := range list {
		if err := s.Run(); err != nil {
			t.Errorf("%v: %v", s.CipherSuite, err)
		}
		if err := made[i].Run(); err != nil {
			t.Errorf("%v, made now: %v", s.CipherSuite, err)
		}
		got, _ := json.Marshal(made[i])
		want, _ := json.Marshal(s)
		if s.CipherSuite != mls.XWingAES128 && !bytes.Equal(got, want) {
			t.Errorf("%v: the same randomness no longer makes the same bytes", s.CipherSuite)
		}
		s.Epochs[2].EpochAuthenticator[0] ^= 1
		if s.Run() == nil {
			t.Errorf("%v: a wrong authenticator was not noticed", s.CipherSuite)
		}
	}
}
