package mls_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/confab-chat/confab/talk/mls"
)

// anyPolicy accepts every credential and keeps a few epochs.
func anyPolicy() mls.Policy {
	return mls.Policy{Check: func(mls.Candidate) error { return nil }, KeepEpochs: 4, KeepResumption: 4}
}

// ourClient runs talk/mls.
type ourClient struct {
	identity string
	suite    mls.CipherSuite
	rand     io.Reader
	signer   ed25519.PrivateKey
	offers   []ourOffer
	psks     pskMap

	capabilities mls.Capabilities // the default if zero
	policy       mls.Policy
}

type ourOffer struct {
	pack    *mls.KeyPackage
	secrets *mls.KeyPackageSecrets
}

// pskMap holds external pre-shared keys.
type pskMap map[string][]byte

func (m pskMap) ExternalPSK(id []byte) ([]byte, bool)        { psk, ok := m[string(id)]; return psk, ok }
func (m pskMap) ResumptionPSK([]byte, uint64) ([]byte, bool) { return nil, false }

func newOurClient(identity string, suite mls.CipherSuite, rand io.Reader) (*ourClient, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, err
	}
	return &ourClient{identity: identity, suite: suite, rand: rand, signer: ed25519.NewKeyFromSeed(seed), psks: pskMap{}, policy: anyPolicy()}, nil
}

func (c *ourClient) template() mls.LeafTemplate {
	return mls.LeafTemplate{Credential: mls.BasicCredential([]byte(c.identity)), Capabilities: c.capabilities}
}

func (c *ourClient) kind() string { return "talk/mls" }

func (c *ourClient) offer() ([]byte, error) {
	k, secrets, err := mls.NewKeyPackage(c.rand, c.suite, c.signer, c.template(), mls.Lifetime{NotAfter: 1 << 40})
	if err != nil {
		return nil, err
	}
	c.offers = append(c.offers, ourOffer{k, secrets})
	return k.Message(), nil
}

func (c *ourClient) create(groupID []byte) (member, error) {
	g, err := mls.Create(c.rand, c.suite, groupID, c.signer, c.template(), nil, c.policy)
	if err != nil {
		return nil, err
	}
	return c.hold(g), nil
}

func (c *ourClient) join(welcome []byte) (member, error) {
	m, err := mls.ParseMessage(welcome)
	if err != nil {
		return nil, err
	}
	if m.Welcome == nil {
		return nil, errors.New("not a Welcome")
	}
	err = errors.New("no key package was offered")
	for _, o := range slices.Backward(c.offers) {
		var g *mls.Group
		if g, _, err = mls.Join(m.Welcome, o.pack, o.secrets, mls.JoinOptions{Signer: c.signer, Policy: c.policy, PSKs: c.psks}); err == nil {
			return c.hold(g), nil
		}
	}
	return nil, err
}

func (c *ourClient) joinExternal(groupInfo []byte, former *uint32) (member, []byte, error) {
	m, err := mls.ParseMessage(groupInfo)
	if err != nil {
		return nil, nil, err
	}
	o := mls.ExternalJoin{Signer: c.signer, Template: c.template(), Policy: c.policy, PSKs: c.psks}
	if former != nil {
		o.Replaces = new(mls.LeafIndex(*former))
	}
	g, commit, err := mls.JoinExternal(c.rand, m.GroupInfo, o)
	if err != nil {
		return nil, nil, err
	}
	return c.hold(g), commit, nil
}

func (c *ourClient) learn(id, psk []byte) error {
	c.psks[string(id)] = psk
	return nil
}

func (c *ourClient) hold(g *mls.Group) *ourMember {
	m := &ourMember{c: c, g: g, stored: map[string][]byte{}}
	m.save()
	return m
}

// ourMember stores what TakeDelta says after every operation, so that restart
// goes on from what an application would have.
type ourMember struct {
	c      *ourClient
	g      *mls.Group
	stored map[string][]byte
	bare   bool // pads nothing
}

func (m *ourMember) save() {
	d := m.g.TakeDelta()
	for _, r := range d.Put {
		m.stored[r.Key] = r.Value
	}
	for _, k := range d.Delete {
		delete(m.stored, k)
	}
}

// restart forgets the group and loads it from what was stored, which must be
// what the group says of itself.
func (m *ourMember) restart() error {
	snapshot := m.g.Snapshot()
	if len(snapshot) != len(m.stored) {
		return fmt.Errorf("%d records stored, %d in the group", len(m.stored), len(snapshot))
	}
	for _, r := range snapshot {
		if !bytes.Equal(m.stored[r.Key], r.Value) {
			return fmt.Errorf("record %s is stored differently", r.Key)
		}
	}
	var records []mls.Record
	for k, v := range m.stored {
		records = append(records, mls.Record{Key: k, Value: bytes.Clone(v)})
	}
	g, err := mls.Load(records, m.c.policy, m.c.signer)
	if err != nil {
		return err
	}
	m.g = g
	return nil
}

func (m *ourMember) state() (v view, err error) {
	exported, err := m.g.Export(exportLabel, []byte(exportContext), exportLength)
	if err != nil {
		return v, err
	}
	var list []string
	for _, x := range m.g.Members() {
		list = append(list, memberString(uint32(x.Index), string(x.Leaf.Credential.Identity)))
	}
	return view{m.g.Epoch(), hex.EncodeToString(m.g.EpochAuthenticator()), hex.EncodeToString(exported),
		strings.Join(list, " "), uint32(m.g.Self())}, nil
}

func memberString(leaf uint32, identity string) string { return fmt.Sprintf("%d:%s", leaf, identity) }

func (m *ourMember) proposal(p proposal) (mls.Proposal, error) {
	switch p.kind {
	case proposeAdd:
		k, err := mls.ParseMessage(p.keyPackage)
		if err != nil {
			return mls.Proposal{}, err
		}
		return mls.AddProposal(k.KeyPackage), nil // Commit and Propose verify it
	case proposeRemove:
		return mls.RemoveProposal(mls.LeafIndex(p.leaf)), nil
	case proposePSK:
		nonce := make([]byte, 32)
		_, err := io.ReadFull(m.c.rand, nonce)
		return mls.Proposal{Type: mls.ProposalPSK, PSK: mls.PSKID{Type: mls.PSKExternal, ID: p.pskID, Nonce: nonce}}, err
	case proposeExtensions:
		return mls.Proposal{Type: mls.ProposalExtensions, Extensions: p.extensions}, nil
	}
	return mls.Proposal{}, fmt.Errorf("no proposal %q", p.kind)
}

func pad(size int) int { return (size + 127) / 128 * 128 }

// framing pads private handshake messages where no member is on mls-go, which
// refuses them (see TestMLSGo_RefusesPaddedHandshakes).
func (m *ourMember) framing(open bool) mls.Framing {
	if m.c.suite == mls.XWingAES128 {
		return mls.Framing{Public: open, Pad: pad}
	}
	return mls.Framing{Public: open}
}

func (m *ourMember) propose(p proposal, open bool) (message []byte, err error) {
	defer m.save()
	f := m.framing(open)
	if p.kind == proposeUpdate {
		return m.g.ProposeUpdate(m.c.rand, nil, nil, f)
	}
	q, err := m.proposal(p)
	if err != nil {
		return nil, err
	}
	return m.g.Propose(m.c.rand, q, f)
}

func (m *ourMember) commit(list []proposal, open bool) (commit, welcome []byte, err error) {
	defer m.save()
	o := mls.CommitOptions{PSKs: m.c.psks, Framing: m.framing(open)}
	for _, p := range list {
		q, err := m.proposal(p)
		if err != nil {
			return nil, nil, err
		}
		o.Proposals = append(o.Proposals, q)
	}
	out, err := m.g.Commit(m.c.rand, o)
	if err != nil {
		return nil, nil, err
	}
	return out.Message, out.Welcome, m.g.Merge(out.Staged)
}

func (m *ourMember) encrypt(data []byte) ([]byte, error) {
	defer m.save()
	f := mls.Framing{Pad: pad}
	if m.bare {
		f.Pad = nil
	}
	return m.g.Encrypt(m.c.rand, data, f)
}

func (m *ourMember) receive(message []byte) ([]byte, error) {
	defer m.save()
	parsed, err := mls.ParseMessage(message)
	if err != nil {
		return nil, err
	}
	r, err := m.g.Receive(parsed, m.c.psks)
	if err != nil {
		return nil, err
	}
	if r.Commit != nil {
		return nil, m.g.Merge(r.Commit)
	}
	return r.Data, nil
}

func (m *ourMember) groupInfo() ([]byte, error) {
	return m.g.GroupInfo(mls.GroupInfoOptions{External: true})
}

// fingerprint is all that the group knows.
func (m *ourMember) fingerprint() string {
	var b strings.Builder
	for _, r := range m.g.Snapshot() {
		fmt.Fprintf(&b, "%s=%x\n", r.Key, r.Value)
	}
	return b.String()
}

// mustRefuse checks that a message is refused and changes nothing.
func (m *ourMember) mustRefuse(message []byte) error {
	before := m.fingerprint()
	if _, err := m.receive(message); err == nil {
		return errors.New("accepted what it must refuse")
	}
	if m.fingerprint() != before {
		return errors.New("refused a message, but the state changed")
	}
	return nil
}
