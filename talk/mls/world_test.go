package mls_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// world is a set of clients and a hub that puts their messages in order.
type world struct {
	t      testing.TB
	src    *rand.ChaCha8
	rng    *rand.Rand
	suite  mls.CipherSuite
	policy mls.Policy
	psks   pskTable
	names  int
}

type pskTable map[string][]byte

func (p pskTable) ExternalPSK(id []byte) ([]byte, bool) {
	k, ok := p[string(id)]
	return k, ok
}

func (p pskTable) ResumptionPSK([]byte, uint64) ([]byte, bool) { return nil, false }

// client is a member with its own store.
type client struct {
	w      *world
	name   string
	key    ed25519.PrivateKey
	group  *mls.Group
	stored map[string][]byte
	read   int // position in the hub's log, used by the simulator
}

const customProposal mls.ProposalType = 0xF123
const customExtension mls.ExtensionType = 0xF321

func newWorld(t testing.TB, suite mls.CipherSuite, seed uint64) *world {
	var s [32]byte
	s[0], s[1], s[2] = byte(seed), byte(seed>>8), byte(suite)
	src := rand.NewChaCha8(s)
	return &world{t: t, src: src, rng: rand.New(src), suite: suite, psks: pskTable{},
		policy: mls.Policy{Check: func(mls.Candidate) error { return nil }, KeepEpochs: 3, KeepResumption: 4,
			Proposals: []mls.ProposalType{customProposal}}}
}

func (w *world) rand() io.Reader { return w.src }

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) client() *client {
	w.names++
	var seed [32]byte
	w.src.Read(seed[:])
	return &client{w: w, name: fmt.Sprintf("member-%03d", w.names), key: ed25519.NewKeyFromSeed(seed[:]), stored: map[string][]byte{}}
}

func (c *client) template() mls.LeafTemplate {
	return mls.LeafTemplate{Credential: mls.BasicCredential([]byte(c.name)), Capabilities: mls.Capabilities{
		Proposals: []mls.ProposalType{customProposal}, Extensions: []mls.ExtensionType{customExtension}}}
}

func (c *client) offer() (*mls.KeyPackage, *mls.KeyPackageSecrets) {
	c.w.t.Helper()
	k, s, err := mls.NewKeyPackage(c.w.rand(), c.w.suite, c.key, c.template(), mls.Lifetime{NotAfter: 1 << 40})
	c.w.ok(err)
	return k, s
}

func (c *client) create(id string, extensions ...mls.Extension) {
	c.w.t.Helper()
	g, err := mls.Create(c.w.rand(), c.w.suite, []byte(id), c.key, c.template(), extensions, c.w.policy)
	c.w.ok(err)
	c.group = g
	c.save()
}

// save writes the delta to the client's store and checks that the store then
// holds exactly the state.
func (c *client) save() {
	c.w.t.Helper()
	d := c.group.TakeDelta()
	for _, r := range d.Put {
		if len(r.Value) == 0 {
			c.w.t.Fatalf("%s: record %s is empty", c.name, r.Key)
		}
		c.stored[r.Key] = r.Value
	}
	for _, k := range d.Delete {
		delete(c.stored, k)
	}
	c.same()
}

// same checks the stored state against the group's own.
func (c *client) same() {
	c.w.t.Helper()
	snapshot := map[string][]byte{}
	for _, r := range c.group.Snapshot() {
		snapshot[r.Key] = r.Value
	}
	if !maps.EqualFunc(snapshot, c.stored, bytes.Equal) {
		for k := range snapshot {
			if !bytes.Equal(snapshot[k], c.stored[k]) {
				c.w.t.Errorf("%s: record %s: state has %d bytes, store %d", c.name, k, len(snapshot[k]), len(c.stored[k]))
			}
		}
		for k := range c.stored {
			if _, ok := snapshot[k]; !ok {
				c.w.t.Errorf("%s: record %s was not deleted", c.name, k)
			}
		}
		c.w.t.FailNow()
	}
}

func records(stored map[string][]byte) []mls.Record {
	var list []mls.Record
	for k, v := range stored {
		list = append(list, mls.Record{Key: k, Value: v})
	}
	return list
}

// restart loses everything that is not stored.
func (c *client) restart() {
	c.w.t.Helper()
	g, err := mls.Load(records(c.stored), c.w.policy, c.key)
	c.w.ok(err)
	c.group = g
	if !g.TakeDelta().Empty() {
		c.w.t.Error("a loaded group has changes to store")
	}
	c.same()
}

func parse(t testing.TB, b []byte) *mls.Message {
	t.Helper()
	m, err := mls.ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (c *client) receive(b []byte) (*mls.Received, error) {
	c.w.t.Helper()
	r, err := c.group.Receive(parse(c.w.t, b), c.w.psks)
	c.save()
	return r, err
}

func (c *client) mustReceive(b []byte) *mls.Received {
	c.w.t.Helper()
	r, err := c.receive(b)
	if err != nil {
		c.w.t.Fatalf("%s: %v", c.name, err)
	}
	return r
}

// follow receives a commit and merges it.
func (c *client) follow(b []byte) *mls.Staged {
	c.w.t.Helper()
	r := c.mustReceive(b)
	if r.Commit == nil {
		c.w.t.Fatalf("%s: not a commit", c.name)
	}
	c.merge(r.Commit)
	return r.Commit
}

func (c *client) merge(s *mls.Staged) {
	c.w.t.Helper()
	c.w.ok(c.group.Merge(s))
	c.save()
	// Checking everything costs a signature for each member: in large groups
	// only now and then.
	if n := len(c.group.Members()); n <= 8 || c.w.rng.IntN(n/4) == 0 {
		c.w.ok(mls.CheckGroup(c.group))
	}
}

func (c *client) commit(o mls.CommitOptions) *mls.Committed {
	c.w.t.Helper()
	o.PSKs = c.w.psks
	out, err := c.group.Commit(c.w.rand(), o)
	c.w.ok(err)
	c.save()
	return out
}

func (c *client) join(welcome []byte, k *mls.KeyPackage, s *mls.KeyPackageSecrets, o mls.JoinOptions) error {
	c.w.t.Helper()
	o.Signer, o.Policy, o.PSKs = c.key, c.w.policy, c.w.psks
	g, _, err := mls.Join(parse(c.w.t, welcome).Welcome, k, s, o)
	if err != nil {
		return err
	}
	c.group, c.stored = g, map[string][]byte{}
	c.save()
	c.w.ok(mls.CheckGroup(g))
	return nil
}

// groupOf makes a group of n, all added by the first in one commit.
func groupOf(w *world, n int) []*client {
	w.t.Helper()
	list := []*client{w.client()}
	list[0].create("group")
	var o mls.CommitOptions
	var offers []*mls.KeyPackage
	var secrets []*mls.KeyPackageSecrets
	for range n - 1 {
		c := w.client()
		k, s := c.offer()
		list, offers, secrets = append(list, c), append(offers, k), append(secrets, s)
		o.Proposals = append(o.Proposals, mls.AddProposal(k))
	}
	if n > 1 {
		out := list[0].commit(o)
		list[0].merge(out.Staged)
		for i, c := range list[1:] {
			w.ok(c.join(out.Welcome, offers[i], secrets[i], mls.JoinOptions{}))
		}
	}
	agree(w.t, list)
	return list
}

// agree checks that all are in one epoch of one history.
func agree(t testing.TB, list []*client) {
	t.Helper()
	first := list[0].group
	want, err := first.Export("test", []byte("context"), 32)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list[1:] {
		got, err := c.group.Export("test", []byte("context"), 32)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.group.EpochAuthenticator(), first.EpochAuthenticator()) || !bytes.Equal(got, want) ||
			!bytes.Equal(c.group.RatchetTree(), first.RatchetTree()) || c.group.Epoch() != first.Epoch() {
			t.Fatalf("%s and %s disagree at epochs %d and %d", list[0].name, c.name, first.Epoch(), c.group.Epoch())
		}
	}
}

// talk sends one message from each to all others.
func talk(t testing.TB, list []*client) {
	t.Helper()
	for _, from := range list {
		b, err := from.group.Encrypt(from.w.rand(), []byte("from "+from.name), mls.Framing{AAD: []byte("aad")})
		if err != nil {
			t.Fatal(err)
		}
		from.save()
		for _, to := range list {
			if to == from {
				continue
			}
			r := to.mustReceive(b)
			if string(r.Data) != "from "+from.name || string(r.Leaf.Credential.Identity) != from.name || string(r.AAD) != "aad" {
				t.Fatalf("%s read %q from %s", to.name, r.Data, r.Leaf.Credential.Identity)
			}
		}
	}
}

func without(list []*client, c *client) []*client {
	return slices.DeleteFunc(slices.Clone(list), func(x *client) bool { return x == c })
}

func allSuites(t *testing.T, f func(t *testing.T, suite mls.CipherSuite)) {
	for _, s := range mls.Suites() {
		t.Run(s.String(), func(t *testing.T) { f(t, s) })
	}
}
