package mls

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestTree_ForgedTreesAreRefused spoils a valid tree in one way each. The
// joiner's checks must find every one; the tree hash would find none, since
// whoever makes the tree makes the hash.
func TestTree_ForgedTreesAreRefused(t *testing.T) {
	s, err := X25519AES128.lookup()
	noError(t, err)
	groups := testGroup(t, X25519AES128, 8, anyPolicy())
	for i := range groups {
		rekey(t, groups, i)
	}
	// A ninth and tenth member join without a path: unmerged leaves.
	rand := testRand(77)
	var adds []Proposal
	for i := range 2 {
		k, _, err := NewKeyPackage(rand, X25519AES128, testSigner(byte(60+i)), LeafTemplate{Credential: BasicCredential([]byte{60})}, Lifetime{0, 9})
		noError(t, err)
		adds = append(adds, AddProposal(k))
	}
	out, err := groups[0].Commit(rand, CommitOptions{Proposals: []Proposal{RemoveProposal(5)}})
	noError(t, err)
	noError(t, groups[0].Merge(out.Staged))
	out, err = groups[0].Commit(rand, CommitOptions{Proposals: adds})
	noError(t, err)
	noError(t, groups[0].Merge(out.Staged))
	valid := groups[0].tree
	id := groups[0].ID()
	noError(t, valid.check(s, id, nil))
	low := nodeIndex(1)
	change := func(x nodeIndex, f func(*parentNode)) func(*ratchetTree) {
		return func(t *ratchetTree) {
			p := *t.parent(x)
			p.unmerged = slices.Clone(p.unmerged)
			f(&p)
			t.setParent(x, &p)
		}
	}
	if valid.parent(low) == nil || valid.parent(3) == nil {
		t.Fatal("the tree has fewer parents than the test needs")
	}
	// newcomer changes a leaf that joined since: no parent hash covers it yet.
	newcomer := func(l LeafIndex, key byte, f func(*LeafNode)) func(*ratchetTree) {
		return func(t *ratchetTree) {
			c := *t.leaf(l)
			c.Source = SourceUpdate
			f(&c)
			if err := c.sign(testSigner(key), id, l); err != nil {
				panic(err)
			}
			t.setLeaf(l, &c)
		}
	}
	for _, c := range []struct {
		name, want string
		spoil      func(*ratchetTree)
	}{
		{"parent's key replaced", "parent-hash invalid", change(3, func(p *parentNode) { p.encryptionKey = bytes.Repeat([]byte{9}, 32) })},
		{"parent's hash replaced", "parent-hash invalid", change(low, func(p *parentNode) { p.parentHash = make([]byte, 32) })},
		{"parent made up", "", func(t *ratchetTree) { t.setParent(9, &parentNode{encryptionKey: bytes.Repeat([]byte{9}, 32)}) }},
		{"leaf blanked below a parent", "", func(t *ratchetTree) { t.setLeaf(2, nil) }},
		{"member listed as unmerged", "parent-hash invalid", change(low, func(p *parentNode) { p.unmerged = []LeafIndex{1} })},
		{"stranger listed as unmerged", "not below it", change(low, func(p *parentNode) { p.unmerged = []LeafIndex{7} })},
		{"blank leaf listed as unmerged", "not below it", func(t *ratchetTree) {
			t.setLeaf(1, nil)
			change(low, func(p *parentNode) { p.unmerged = []LeafIndex{1} })(t)
		}},
		{"unmerged above but not below", "does not", change(3, func(p *parentNode) { p.unmerged = []LeafIndex{1} })},
		{"two members with one encryption key", "used twice", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = valid.leaf(4).EncryptionKey })},
		{"two members with one signature key", "used twice", newcomer(8, 60, func(l *LeafNode) { l.SignatureKey = testSigner(60)[32:] })},
		{"member with a parent's key", "used twice", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = valid.parent(3).encryptionKey })},
		{"leaf signed by another", "signature", func(t *ratchetTree) {
			c := *t.leaf(5)
			c.Signature = bytes.Clone(t.leaf(6).Signature)
			c.rebuild()
			t.setLeaf(5, &c)
		}},
		{"leaf from another place", "", func(t *ratchetTree) { t.setLeaf(7, valid.leaf(6)); t.setLeaf(6, nil) }},
		{"leaf key of small order", "small order", newcomer(5, 60, func(l *LeafNode) { l.EncryptionKey = make([]byte, 32) })},
	} {
		forged := valid.clone()
		c.spoil(forged)
		forged.hashes = make([]*[hashSize]byte, len(forged.hashes))
		if err := forged.check(s, id, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTree_CredentialTypesMustBeUnderstoodByAll(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	tree := groups[0].tree.clone()
	c := *tree.leaf(1)
	c.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
	c.Capabilities.Credentials = []CredentialType{CredentialX509, CredentialBasic}
	tree.setLeaf(1, &c)
	if err := tree.checkCredentialTypes(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a credential that leaf 0 does not understand: %v", err)
	}
}

// TestExternalCommit_RulesOfItsProposals signs external commits that break one
// rule each.
func TestExternalCommit_RulesOfItsProposals(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	b, err := groups[0].GroupInfo(GroupInfoOptions{External: true})
	noError(t, err)
	m, err := ParseMessage(b)
	noError(t, err)
	k, _, err := NewKeyPackage(testRand(1), X25519AES128, testSigner(99), LeafTemplate{}, Lifetime{0, 9})
	if err == nil {
		t.Error("a key package without a credential was made")
	}
	k, _, err = NewKeyPackage(testRand(1), X25519AES128, testSigner(99), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
	noError(t, err)
	try := func(mix ...Proposal) error {
		_, _, err := JoinExternal(testRand(2), m.GroupInfo, ExternalJoin{Signer: testSigner(98), Template: LeafTemplate{Credential: BasicCredential([]byte("x"))}, Policy: anyPolicy(), Mix: mix})
		return err
	}
	noError(t, try())
	noError(t, try(RemoveProposal(1)))
	for name, mix := range map[string][]Proposal{
		"add":        {AddProposal(k)},
		"extensions": {ExtensionsProposal(nil)},
		"reinit":     {ReInitProposal(ReInit{GroupID: []byte("x"), Suite: X25519AES128})},
		"two inits":  {{Type: ProposalExternalInit, KEMOutput: make([]byte, 32)}},
		"removes":    {RemoveProposal(1), RemoveProposal(2)},
		"custom":     {CustomProposal(0xF000, nil)},
	} {
		if err := try(mix...); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// By reference.
	v := groups[0].view()
	list := []queued{{Proposal: &Proposal{Type: ProposalExternalInit}, sender: Sender{Type: SenderNewMemberCommit}, ref: []byte{1}}}
	if _, err := v.apply(Sender{Type: SenderNewMemberCommit}, list); !errors.Is(err, ErrInvalid) {
		t.Errorf("by reference: %v", err)
	}
	// Without the door open.
	b, err = groups[0].GroupInfo(GroupInfoOptions{})
	noError(t, err)
	closed, err := ParseMessage(b)
	noError(t, err)
	if _, _, err := JoinExternal(testRand(2), closed.GroupInfo, ExternalJoin{Signer: testSigner(98), Policy: anyPolicy()}); !errors.Is(err, ErrInvalid) {
		t.Errorf("closed group: %v", err)
	}
}

func TestKeyPackage_RulesOfRFC9420Section10(t *testing.T) {
	make := func(spoil func(*KeyPackage)) *KeyPackage {
		k, _, err := NewKeyPackage(testRand(1), X25519AES128, testSigner(1), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{5, 9})
		noError(t, err)
		spoil(k)
		noError(t, k.Leaf.sign(testSigner(1), nil, 0))
		var w writer
		k.encodeTBS(&w)
		k.Signature, err = sign(testSigner(1), "KeyPackageTBS", w.b)
		noError(t, err)
		w.vec(k.Signature)
		k.raw = w.b
		return k
	}
	noError(t, make(func(*KeyPackage) {}).Verify())
	for name, spoil := range map[string]func(*KeyPackage){
		"version":               func(k *KeyPackage) { k.Version = 2 },
		"suite":                 func(k *KeyPackage) { k.Suite = 2 },
		"leaf of another suite": func(k *KeyPackage) { k.Leaf.Capabilities.Suites = []CipherSuite{X25519ChaCha20} },
		"leaf for an update":    func(k *KeyPackage) { k.Leaf.Source = SourceUpdate },
		"init key again":        func(k *KeyPackage) { k.InitKey = k.Leaf.EncryptionKey },
		"init key of small order": func(k *KeyPackage) {
			k.InitKey = append([]byte{1}, bytes.Repeat([]byte{0}, 31)...)
		},
	} {
		if err := make(spoil).Verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for i, name := range []string{"signature", "leaf signature"} {
		k := make(func(*KeyPackage) {})
		if i == 0 {
			k.Signature[3] ^= 1
		} else {
			k.Leaf.Signature[3] ^= 1
			var w writer
			k.rebuild()
			k.encodeTBS(&w)
			k.Signature, _ = sign(testSigner(1), "KeyPackageTBS", w.b)
			k.rebuild()
		}
		if err := k.Verify(); !errors.Is(err, ErrUnauthentic) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := make(func(*KeyPackage) {})
	for now, good := range map[uint64]bool{4: false, 5: true, 9: true, 10: false} {
		if err := k.VerifyAt(now); (err == nil) != good {
			t.Errorf("at %d: %v", now, err)
		}
	}
	if _, err := parseKeyPackage(k.Message()[4:]); err != nil {
		t.Errorf("own message: %v", err)
	}
}

func TestWelcome_IsForItsKeyPackageOnly(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	rand := testRand(3)
	offer := func() (*KeyPackage, *KeyPackageSecrets) {
		k, s, err := NewKeyPackage(rand, X25519AES128, testSigner(90), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
		noError(t, err)
		return k, s
	}
	k, s := offer()
	other, os := offer()
	out, err := groups[0].Commit(rand, CommitOptions{Proposals: []Proposal{AddProposal(k)}})
	noError(t, err)
	m, err := ParseMessage(out.Welcome)
	noError(t, err)
	if m.Welcome.For(other) || !m.Welcome.For(k) {
		t.Error("For mistakes whom the Welcome is for")
	}
	o := JoinOptions{Signer: testSigner(90), Policy: anyPolicy()}
	if _, _, err := Join(m.Welcome, other, os, o); !errors.Is(err, ErrNotMember) {
		t.Errorf("another's Welcome: %v", err)
	}
	if _, _, err := Join(m.Welcome, k, os, o); !errors.Is(err, ErrInvalid) {
		t.Errorf("another's secrets: %v", err)
	}
	o.Parent = groups[0]
	if _, _, err := Join(m.Welcome, k, s, o); !errors.Is(err, ErrInvalid) {
		t.Errorf("a descent that is not claimed: %v", err)
	}
	o.Parent = nil
	if _, _, err := Join(m.Welcome, k, s, o); err != nil {
		t.Error(err)
	}
}

func TestPadding_MustBeZero(t *testing.T) {
	groups := testGroup(t, X25519AES128, 2, anyPolicy())
	g := groups[0]
	var w writer
	w.vec([]byte("data"))
	a, err := g.content(Framing{}, ContentApplication, w.b)
	noError(t, err)
	noError(t, a.sign(testSigner(0), g.cur.contextRaw))
	a.signature = append(a.signature[:0:0], a.signature...)
	// A signature followed by something that is not padding.
	forged := *a
	forged.content.body = w.b
	message, _, err := g.cur.protectPrivate(testRand(1), &authContent{wire: a.wire, content: a.content, signature: a.signature}, nil)
	noError(t, err)
	m, err := ParseMessage(message)
	noError(t, err)
	_, st, err := openPrivate(groups[1].cur.tree, groups[1].cur.secrets.senderData, m.private, func(LeafIndex) bool { return true })
	noError(t, err)
	var plain writer
	plain.raw(w.b)
	a.encodeAuth(&plain)
	plain.raw([]byte{0, 0, 1})
	p := *m.private
	sd := senderData{leaf: 0, generation: 0}
	p.ciphertext, err = g.s.sealAEAD(st.key, guarded(st.nonce, sd.guard), p.contentAAD(), plain.b)
	noError(t, err)
	key, nonce := g.s.senderDataKey(g.cur.secrets.senderData, p.ciphertext)
	var sw writer
	sw.u32(0)
	sw.u32(0)
	sw.raw(sd.guard[:])
	p.senderData, err = g.s.sealAEAD(key, nonce, p.senderDataAAD(), sw.b)
	noError(t, err)
	m.private = &p
	if _, err := groups[1].Receive(m, nil); err == nil || !strings.Contains(err.Error(), "padding") {
		t.Errorf("padding with a bit set: %v", err)
	}
}

// TestReceive_SendersStayInTheirRoles signs messages properly that their
// senders may not send.
func TestReceive_SendersStayInTheirRoles(t *testing.T) {
	groups := listeners(t, X25519AES128, anyPolicy())
	g := groups[3]
	send := func(from Sender, key byte, kind ContentType, body []byte) error {
		a := &authContent{wire: WirePublic, content: framedContent{groupID: g.ID(), epoch: g.Epoch(), sender: from, kind: kind, body: body}}
		if kind == ContentCommit {
			a.confirmationTag = make([]byte, hashSize)
		}
		noError(t, a.sign(testSigner(key), g.cur.contextRaw))
		p := &publicMessage{authContent: *a}
		p.membershipTag = p.membership(g.cur.secrets.membership, g.cur.contextRaw)
		m, err := ParseMessage(p.bytes())
		noError(t, err)
		_, err = g.Receive(m, nil)
		return err
	}
	encode := func(p Proposal) []byte {
		var w writer
		p.encode(&w)
		return w.b
	}
	leaf := g.tree.leaf(1).template().leaf(SourceUpdate, bytes.Repeat([]byte{9}, 32), testSigner(50)[32:])
	noError(t, leaf.sign(testSigner(50), g.ID(), 1))
	update := encode(Proposal{Type: ProposalUpdate, Update: leaf})
	remove := encode(RemoveProposal(1))
	var data, empty writer
	data.vec([]byte("data"))
	(&commit{}).encode(&empty)
	for _, c := range []struct {
		name string
		from Sender
		key  byte
		kind ContentType
		body []byte
	}{
		{"public application data", Sender{Type: SenderMember, Leaf: 1}, 1, ContentApplication, data.b},
		{"external application data", Sender{Type: SenderExternal}, 50, ContentApplication, data.b},
		{"external update", Sender{Type: SenderExternal}, 50, ContentProposal, update},
		{"external init proposal", Sender{Type: SenderExternal}, 50, ContentProposal, encode(Proposal{Type: ProposalExternalInit, KEMOutput: []byte{1}})},
		{"member's external init proposal", Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, encode(Proposal{Type: ProposalExternalInit, KEMOutput: []byte{1}})},
		{"external commit by a listed sender", Sender{Type: SenderExternal}, 50, ContentCommit, empty.b},
		{"new member's remove", Sender{Type: SenderNewMemberProposal}, 50, ContentProposal, remove},
		{"new member's commit without path", Sender{Type: SenderNewMemberCommit}, 50, ContentCommit, empty.b},
		{"update by another's leaf", Sender{Type: SenderMember, Leaf: 2}, 2, ContentProposal, update},
	} {
		if err := send(c.from, c.key, c.kind, c.body); err == nil {
			t.Errorf("%s: accepted", c.name)
		} else if errors.Is(err, ErrUnauthentic) && c.name != "update by another's leaf" {
			t.Errorf("%s: refused for its signature, which is fine: %v", c.name, err)
		}
	}
	noError(t, send(Sender{Type: SenderExternal}, 50, ContentProposal, remove))

	// Updates and adds that are signed by the right one and wrong in themselves.
	own := func(f func(*LeafNode)) []byte {
		l := g.tree.leaf(1).template().leaf(SourceUpdate, bytes.Repeat([]byte{9}, 32), testSigner(1)[32:])
		f(l)
		noError(t, l.sign(testSigner(1), g.ID(), 1))
		return encode(Proposal{Type: ProposalUpdate, Update: l})
	}
	add := func(id CipherSuite) []byte {
		k, _, err := NewKeyPackage(testRand(1), id, testSigner(70), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
		noError(t, err)
		return encode(AddProposal(k))
	}
	for name, body := range map[string][]byte{
		"update with a leaf for a key package": own(func(l *LeafNode) { l.Source = SourceKeyPackage }),
		"update with the old key":              own(func(l *LeafNode) { l.EncryptionKey = g.tree.leaf(1).EncryptionKey }),
		"add of another suite":                 add(X25519ChaCha20),
		"add of another KEM":                   add(XWingAES128),
	} {
		if err := send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, body); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	noError(t, send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, own(func(*LeafNode) {})))
	noError(t, send(Sender{Type: SenderMember, Leaf: 1}, 1, ContentProposal, add(X25519AES128)))
}

// TestReceive_ForgedSenderDataAndSignatures: an insider, who has every message
// key, speaks for others and for nobody, in this epoch and in a past one.
func TestReceive_ForgedSenderDataAndSignatures(t *testing.T) {
	wide := testGroup(t, X25519AES128, 5, anyPolicy()) // a tree of 8 with three blanks
	g := wide[3]
	forge := func(e *epoch, as LeafIndex, key byte) *Message {
		var w writer
		w.vec([]byte("forged"))
		a := &authContent{wire: WirePrivate, content: framedContent{groupID: g.ID(), epoch: e.context.Epoch,
			sender: Sender{Type: SenderMember, Leaf: as}, kind: ContentApplication, body: w.b}}
		noError(t, a.sign(testSigner(key), e.contextRaw))
		b, _, err := e.protectPrivate(testRand(1), a, nil)
		noError(t, err)
		m, err := ParseMessage(b)
		noError(t, err)
		return m
	}
	insider, err := wide[1].Clone()
	noError(t, err)
	cases := []*Message{forge(insider.cur, 2, 1), forge(insider.cur, 6, 1), forge(insider.cur, 3, 1)}
	for past := range 2 {
		g.TakeDelta()
		before := state(g)
		for i, m := range cases {
			if _, err := g.Receive(m, nil); err == nil {
				t.Errorf("forgery %d in past=%d was read", i, past)
			}
			if state(g) != before {
				t.Fatalf("forgery %d in past=%d changed the state", i, past)
			}
		}
		rekey(t, wide, 0)
	}
	r, err := g.Receive(forge(insider.cur, 1, 1), nil) // its own name is its own to use
	noError(t, err)
	if string(r.Data) != "forged" {
		t.Errorf("read %q", r.Data)
	}
}

// TestWelcome_ByAnInsiderWhoLies re-makes a Welcome with one thing wrong and
// signs it properly.
func TestWelcome_ByAnInsiderWhoLies(t *testing.T) {
	groups := testGroup(t, X25519AES128, 3, anyPolicy())
	rand := testRand(3)
	s := groups[0].s
	k, secrets, err := NewKeyPackage(rand, X25519AES128, testSigner(90), LeafTemplate{Credential: BasicCredential([]byte("k"))}, Lifetime{0, 9})
	noError(t, err)
	out, err := groups[0].Commit(rand, CommitOptions{Path: true, Proposals: []Proposal{AddProposal(k)}})
	noError(t, err)
	m, err := ParseMessage(out.Welcome)
	noError(t, err)
	zero := make(secret, hashSize)
	try := func(spoil func(*GroupInfo, *groupSecrets)) error {
		gs, err := openGroupSecrets(s, secrets.init, m.Welcome.groupInfo, m.Welcome.entry(k))
		noError(t, err)
		gi, err := openGroupInfo(s, welcomeSecret(gs.joiner, zero), m.Welcome.groupInfo)
		noError(t, err)
		spoil(gi, &gs)
		var w writer
		gi.Context.encode(&w)
		w.extensions(gi.Extensions)
		w.vec(gi.confirmationTag)
		w.u32(uint32(gi.Signer))
		sig, err := sign(testSigner(0), "GroupInfoTBS", w.b)
		noError(t, err)
		w.vec(sig)
		key := welcomeSecret(gs.joiner, zero)
		wl := &Welcome{Suite: m.Welcome.Suite}
		wl.groupInfo, err = s.sealAEAD(expand(key, "key", nil, s.keySize), expand(key, "nonce", nil, nonceSize), nil, w.b)
		noError(t, err)
		var gw writer
		gs.encode(&gw)
		c, err := s.newSealer("Welcome", wl.groupInfo).encrypt(rand, k.InitKey, gw.b)
		noError(t, err)
		wl.secrets = []encryptedSecrets{{k.Ref(), c}}
		_, _, err = Join(wl, k, secrets, JoinOptions{Signer: testSigner(90), Policy: anyPolicy()})
		return err
	}
	noError(t, try(func(*GroupInfo, *groupSecrets) {}))
	psk := PSKID{Type: PSKExternal, ID: []byte("p"), Nonce: make([]byte, 32)}
	for _, c := range []struct {
		name, want string
		spoil      func(*GroupInfo, *groupSecrets)
	}{
		{"confirmation tag", "confirmation tag", func(gi *GroupInfo, _ *groupSecrets) { gi.confirmationTag = make([]byte, 32) }},
		{"epoch", "confirmation tag", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Epoch++ }},
		{"tree hash", "tree of another epoch", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.TreeHash = make([]byte, 32) }},
		{"suite", "group of", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Suite = X25519ChaCha20 }},
		{"signer", "signature of GroupInfoTBS", func(gi *GroupInfo, _ *groupSecrets) { gi.Signer = 1 }},
		{"signer who is nobody", "who is nobody", func(gi *GroupInfo, _ *groupSecrets) { gi.Signer = 77 }},
		{"no tree", "no ratchet tree", func(gi *GroupInfo, _ *groupSecrets) { gi.Extensions = nil }},
		{"path secret", "not what its secret gives", func(_ *GroupInfo, gs *groupSecrets) { gs.path = zero }},
		{"short path secret", "secret of 3 bytes", func(_ *GroupInfo, gs *groupSecrets) { gs.path = zero[:3] }},
		{"one key twice", "one pre-shared key twice", func(_ *GroupInfo, gs *groupSecrets) { gs.psks = []PSKID{psk, psk} }},
		{"unknown key", "unknown pre-shared key", func(_ *GroupInfo, gs *groupSecrets) { gs.psks = []PSKID{psk} }},
		{"group id", "signature of LeafNodeTBS", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.GroupID = []byte("another") }},
		{"extension nobody supports", "is not supported", func(gi *GroupInfo, _ *groupSecrets) { gi.Context.Extensions = []Extension{{Type: 0xF00F}} }},
	} {
		if err := try(c.spoil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCodec_BoundsOnLists(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*writer)
		read  func(*reader)
	}{
		{"identity", func(w *writer) { BasicCredential(make([]byte, maxIdentity+1)).encode(w) }, func(r *reader) { r.credential() }},
		{"certificates", func(w *writer) {
			Credential{Type: CredentialX509, Certificates: make([][]byte, maxList+1)}.encode(w)
		}, func(r *reader) { r.credential() }},
		{"capabilities", func(w *writer) { writeList(w, make([]uint16, maxList+1)) }, func(r *reader) { readList[uint16](r) }},
		{"odd capabilities", func(w *writer) { w.vec(make([]byte, 3)) }, func(r *reader) { readList[uint16](r) }},
		{"extension", func(w *writer) { w.extensions([]Extension{{9, make([]byte, maxExtension+1)}}) }, func(r *reader) { r.extensions(maxExtension) }},
		{"extension twice", func(w *writer) { w.extensions([]Extension{{9, nil}, {9, nil}}) }, func(r *reader) { r.extensions(maxExtension) }},
		{"group id", func(w *writer) { (&GroupContext{GroupID: make([]byte, MaxGroupID+1)}).encode(w) }, func(r *reader) { r.groupContext() }},
		{"path nodes", func(w *writer) {
			l := testGroup(t, X25519AES128, 1, anyPolicy())[0].tree.leaf(0)
			(&updatePath{l, make([]pathNode, maxPathNodes+1)}).encode(w)
		}, func(r *reader) { r.updatePath() }},
		{"pre-shared keys", func(w *writer) {
			(&groupSecrets{psks: slices.Repeat([]PSKID{{Type: PSKExternal}}, maxPSKs+1)}).encode(w)
		}, func(r *reader) { r.groupSecrets() }},
		{"unmerged leaves that descend", func(w *writer) { (&parentNode{unmerged: []LeafIndex{2, 1}}).encode(w) }, func(r *reader) { r.parentNode() }},
		{"unmerged leaves that repeat", func(w *writer) { (&parentNode{unmerged: []LeafIndex{2, 2}}).encode(w) }, func(r *reader) { r.parentNode() }},
		{"proposal of type 0", func(w *writer) { (&Proposal{}).encode(w) }, func(r *reader) { r.proposal() }},
	} {
		var w writer
		c.write(&w)
		r := reader{b: w.b}
		if c.read(&r); !errors.Is(r.end(), ErrMalformed) {
			t.Errorf("%s: %v", c.name, r.err)
		}
	}
	for name, b := range map[string][]byte{
		"no leaf": {0}, "blank leaf": {1, 0}, "blank at the end": {3, 0, 0, 0}, "parent at a leaf's place": {4, 1, 2, 0, 0},
	} {
		if _, err := parseTree(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("tree with %s: %v", name, err)
		}
	}
}

func TestLeaf_MustSatisfyWhatTheGroupRequires(t *testing.T) {
	full := Capabilities{Extensions: []ExtensionType{0xF001}, Proposals: []ProposalType{0xF002}, Credentials: []CredentialType{CredentialBasic, CredentialX509}}
	for name, c := range map[string]struct {
		context []Extension
		lacking func(*Capabilities)
	}{
		"required extension":  {[]Extension{RequiredCapabilities{Extensions: []ExtensionType{0xF001}}.Extension()}, func(c *Capabilities) { c.Extensions = nil }},
		"required proposal":   {[]Extension{RequiredCapabilities{Proposals: []ProposalType{0xF002}}.Extension()}, func(c *Capabilities) { c.Proposals = nil }},
		"required credential": {[]Extension{RequiredCapabilities{Credentials: []CredentialType{CredentialX509}}.Extension()}, func(c *Capabilities) { c.Credentials = c.Credentials[:1] }},
		"extension in use":    {[]Extension{{Type: 0xF001}}, func(c *Capabilities) { c.Extensions = nil }},
	} {
		if err := full.satisfies(c.context); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		lacking := full
		c.lacking(&lacking)
		if err := lacking.satisfies(c.context); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s is lacking: %v", name, err)
		}
	}
	defaults := RequiredCapabilities{Extensions: []ExtensionType{ExtApplicationID, ExtExternalSenders}, Proposals: []ProposalType{ProposalAdd, ProposalExtensions}}
	if err := (&Capabilities{}).satisfies([]Extension{defaults.Extension()}); err != nil {
		t.Errorf("what RFC 9420 gives every client is lacking: %v", err)
	}
}
