package namesvc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"

	"github.com/confab-chat/confab/internal/namescript"
	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// vectorsDir is where the vectors live, seen from this package.
const vectorsDir = "../docs/vectors"

// envelope and the small leaves are unexported in the law; their shapes are part
// of the specification.
type (
	envelope struct {
		_         struct{} `cbor:",toarray"`
		Payload   []byte
		Signature []byte
	}
	commitLeaf struct {
		_        struct{} `cbor:",toarray"`
		Height   uint64
		Number   uint64
		Revealed bool
	}
	queueLeaf [32]byte

	consent struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Account namesvc.AccountID
		Seq     uint64
		Key     key.Public
		Scopes  namesvc.Scopes
		Expires uint64
	}
	possession struct {
		_       struct{} `cbor:",toarray"`
		Chain   string
		Account namesvc.AccountID
		Key     key.Consensus
	}
	acceptance struct {
		_                 struct{} `cbor:",toarray"`
		Chain             string
		User              namesvc.AccountID
		UserGeneration    uint32
		Service           namesvc.AccountID
		ServiceGeneration uint32
	}
)

// tale is a small chain whose every op and leaf is a vector.
type tale struct {
	t      *testing.T
	law    *namescript.Law
	params namesvc.Params
	ops    vectors.File
	leaves vectors.File
	msgs   vectors.File
	waits  []waits // ops for the next block

	phrase           key.Phrase
	person, harbor   namesvc.Genesis
	lantern          namesvc.Genesis // offers to run a validator
	lower, harborKey key.Root
	lanternKey       key.Root
	device, second   key.Device
	server           key.Server
	service          []byte   // the concierge's registration
	paid             [32]byte // id of a commit that a ticket pays for
	operated         [32]byte // the lantern's last op
	seq              uint64
	last             [32]byte
}

// waits is an op that waits for its block, with its place among the vectors.
type waits struct {
	op     []byte
	vector int // or -1 if it is none
}

// wordsOfZero is the phrase of 128 zero bits, which BIP-39 itself uses as a
// test vector. It opens nothing of anybody's.
const wordsOfZero = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func seed32(b byte) (s [32]byte) {
	for i := range s {
		s[i] = b
	}
	return s
}

func newTale(t *testing.T) *tale {
	t.Helper()
	p := namesvc.DevParams("confab-vectors")
	p.WorkBits, p.WorkKiB = 2, 64
	phrase, err := key.ParsePhrase(wordsOfZero)
	if err != nil {
		t.Fatal(err)
	}
	s := &tale{
		t: t, params: p, phrase: phrase,
		lanternKey: key.RootFromSeed(seed32(0x31)),
		lower:      key.RootFromSeed(seed32(0x11)), harborKey: key.RootFromSeed(seed32(0x21)),
		device: key.DeviceFromSeed(seed32(0xd1)), second: key.DeviceFromSeed(seed32(0xd2)),
		server: key.ServerFromSeed(seed32(0x5e)),
	}
	salt := seed32(0xa5)
	s.person, err = namesvc.NewGenesis(bytes.NewReader(salt[:]), namesvc.Person, phrase.Root(1).Public().NextHash(),
		phrase.Root(0).Public(), s.lower.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.harbor, err = namesvc.NewGenesis(bytes.NewReader(salt[:]), namesvc.Service, [32]byte{}, s.harborKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.lantern, err = namesvc.NewGenesis(bytes.NewReader(salt[:]), namesvc.Service, [32]byte{}, s.lanternKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	founder := namesvc.Validator{Key: key.Consensus(consensus("harbor").PubKey().Bytes()), Power: 10, Operator: s.harbor.Account()}
	s.law, err = namescript.BeginLaw(p, []namesvc.Validator{founder}, sha256.Sum256([]byte("confab vectors")), 1767225600)
	if err != nil {
		t.Fatal(err)
	}
	s.seq, s.last = 0, s.person.Account()
	return s
}

// consensus is the key of a validator, as CometBFT has it.
func consensus(name string) secp256k1eth.PrivKey {
	return secp256k1eth.GenPrivKeySecp256k1Eth([]byte(name))
}

// field is one named value of a vector.
func field(name, format string, args ...any) vectors.Field {
	return vectors.Field{Name: name, Value: fmt.Sprintf(format, args...)}
}

// explain annotates or fails.
func explain(t *testing.T, b []byte, as any, inside vectors.Inside) []vectors.Item {
	t.Helper()
	items, err := vectors.Annotate(b, as, inside)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// bodies are what ops carry, by kind.
var bodies = map[namesvc.OpKind]any{
	namesvc.OpRegister: namesvc.Registration{}, namesvc.OpRecords: namesvc.Records{}, namesvc.OpDevices: namesvc.DeviceList{},
	namesvc.OpOperate: namesvc.Offer{}, namesvc.OpVote: namesvc.Vote{}, namesvc.OpSponsor: namesvc.Sponsorship{},
	namesvc.OpRoots: namesvc.RootList{}, namesvc.OpRenew: namesvc.Renewal{}, namesvc.OpRelease: namesvc.Release{}, namesvc.OpCancel: namesvc.Cancel{},
}

// explainOp annotates an op down to its body.
func explainOp(t *testing.T, op []byte) []vectors.Item {
	t.Helper()
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		t.Fatal(fault)
	}
	if tx.Commit != nil {
		return explain(t, op, envelope{}, vectors.Inside{"Payload": namesvc.Commit{}})
	}
	return explain(t, op, envelope{}, vectors.Inside{
		"Payload": namesvc.Op{}, "Body": bodies[tx.Op.Kind], "Genesis": namesvc.Genesis{},
	})
}

// send queues an op and makes it a vector.
func (s *tale) send(name, about string, op []byte) {
	s.t.Helper()
	s.waits = append(s.waits, waits{op, len(s.ops.Vectors)})
	s.ops.Vectors = append(s.ops.Vectors, vectors.Vector{
		Name: name, Fields: []vectors.Field{field("about", "%s", about), field("id", "%x", sha256.Sum256(op))},
		Items: explainOp(s.t, op), Bytes: op,
	})
}

// block cuts a block ten seconds after the last.
func (s *tale) block() {
	s.t.Helper()
	ops := make([][]byte, len(s.waits))
	for i, w := range s.waits {
		ops[i] = w.op
	}
	receipts, err := s.law.Block(ops, 10)
	if err != nil {
		s.t.Fatal(err)
	}
	height, time := s.law.Head()
	for i, w := range s.waits {
		if receipts[i].Code != namesvc.Accepted {
			s.t.Fatalf("op %d of block %d: %v: %s", i, height, receipts[i].Code, receipts[i].Detail)
		}
		if w.vector < 0 {
			continue
		}
		v := &s.ops.Vectors[w.vector]
		v.Fields = append(v.Fields, field("height", "%d", height), field("time", "%d", time), field("root", "%x", s.law.Root()))
	}
	s.waits = nil
}

// person's ops follow one another.
func (s *tale) sign(kind namesvc.OpKind, body any, by namesvc.Signer) []byte {
	height, _ := s.law.Head()
	s.seq++
	op := namesvc.SignOp(namesvc.Op{
		Kind: kind, Chain: s.params.Chain, Account: s.person.Account(), Seq: s.seq, Prev: s.last, Expires: height + 100,
	}, body, by)
	s.last = sha256.Sum256(op)
	return op
}

// commit sends the commit for a registration.
func (s *tale) commit(name, about string, register []byte) {
	s.t.Helper()
	height, _ := s.law.Head()
	hash := namesvc.CommitHash(register)
	var cp namesvc.Checkpoint
	decodeLeaf(s.t, s.law, namesvc.CheckpointKey(0), &cp)
	challenge := ticket.Challenge(s.params.Chain, hash, cp.Digest)
	nonce, err := ticket.Solve(context.Background(), challenge, int(s.params.WorkBits), s.params.WorkKiB, 0, 1, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(name, about, namesvc.EncodeCommit(namesvc.Commit{
		Chain: s.params.Chain, Expires: height + 100, Hash: hash, Payment: ticket.Work, Proof: binary.BigEndian.AppendUint64(nil, nonce),
	}))
	s.msgs.Vectors = append(s.msgs.Vectors, vectors.Vector{Name: "challenge-" + name, Fields: []vectors.Field{
		field("about", "what the work of this commit is bound to"),
		field("chain", "%s", s.params.Chain), field("commit", "%x", hash), field("checkpoint", "%x", cp.Digest),
		field("challenge", "%x", challenge), field("nonce", "%d", nonce), field("kib", "%d", s.params.WorkKiB),
		field("bits", "%d", ticket.Bits(challenge, nonce, s.params.WorkKiB)),
	}})
}

// message makes a signed message a vector.
func (s *tale) message(name, about string, tag wire.Tag, signer key.Public, msg []byte, as any, sig key.Signature) {
	s.t.Helper()
	if err := key.Verify(signer, tag, msg, sig); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.msgs.Vectors = append(s.msgs.Vectors, vectors.Vector{Name: name, Items: explain(s.t, msg, as, nil), Bytes: msg, Fields: []vectors.Field{
		field("about", "%s", about), field("tag", "%q", string(tag)), field("signer", "%v", signer), field("signature", "%x", sig),
	}})
}

// leaf makes a leaf as it stands now a vector.
func (s *tale) leaf(name, about string, kind byte, id []byte, as any) {
	s.t.Helper()
	k := namesvc.LeafKey(kind, id)
	b, err := s.law.Get(k)
	if err != nil || b == nil {
		s.t.Fatalf("leaf %s: %v", name, err)
	}
	valueHash := sha256.Sum256(b)
	hash := sha256.Sum256(append(append([]byte{0}, k[:]...), valueHash[:]...))
	height, _ := s.law.Head()
	s.leaves.Vectors = append(s.leaves.Vectors, vectors.Vector{
		Name: name, Items: explain(s.t, b, as, nil), Bytes: b, Fields: []vectors.Field{
			field("about", "%s", about), field("height", "%d", height), field("preimage", "%x", append([]byte{kind}, id...)),
			field("key", "%x", k), field("leaf", "%x", hash),
		},
	})
}

// grant lists a device that joins with the given number of the device list.
func (s *tale) grant(d key.Device, seq uint64, scopes namesvc.Scopes) namesvc.Grant {
	_, now := s.law.Head()
	g := namesvc.Grant{Key: d.Public(), Scopes: scopes, Expires: now + 90*86400}
	msg := namesvc.Consent(s.params.Chain, s.person.Account(), seq, g.Key, g.Scopes, g.Expires)
	sig := d.SignConsent(msg)
	g.Consent = sig[:]
	s.message(fmt.Sprintf("consent-%d", seq), "a device agrees to join the person's account", wire.TagDevice, g.Key, msg, consent{}, sig)
	return g
}

func (s *tale) tell() {
	harbor, person := s.harbor.Account(), s.person.Account()
	service := namesvc.SignOp(namesvc.Op{
		Kind: namesvc.OpRegister, Chain: s.params.Chain, Account: harbor, Seq: 1, Prev: harbor, Expires: 100,
	}, namesvc.Registration{
		Salt: [16]byte{1}, Handle: "harbor", Genesis: s.harbor.Encode(), Records: &namesvc.Records{Service: &namesvc.Endpoint{
			URLs: []string{"https://harbor.example"}, Peers: []string{"/dns/harbor.example/tcp/443"},
			Roles: namesvc.RoleConcierge | namesvc.RoleRelay, Key: s.server.Public(), Consent: true,
		}},
	}, s.harborKey)
	s.service = service
	register := s.sign(namesvc.OpRegister, namesvc.Registration{
		Salt: [16]byte{2}, Handle: "alice", Genesis: s.person.Encode(), Devices: []namesvc.Grant{s.grant(s.device, 1, namesvc.AllScopes)},
	}, s.phrase.Root(0))
	s.commit("commit-service", "announces the registration of a concierge", service)
	s.commit("commit-person", "announces the registration of a person", register)
	s.block()
	s.send("register-service", "a service registers a handle and its endpoints", service)
	s.send("register-person", "a person registers a handle and a device", register)
	s.block()

	msg := namesvc.Acceptance(s.params.Chain, person, 1, harbor, 1)
	accepted := s.server.SignAcceptance(msg)
	s.message("acceptance", "the concierge agrees to serve the person", wire.TagAcceptance, s.server.Public(), msg, acceptance{}, accepted)
	profile := sha256.Sum256([]byte("profile"))
	s.send("records", "the person's device chooses the concierge and a profile", s.sign(namesvc.OpRecords, namesvc.Records{
		Profile: profile[:], AlsoKnownAs: []string{"https://alice.example"},
		Concierges: []namesvc.Concierge{{Account: harbor, Generation: 1, Acceptance: accepted[:]}},
	}, s.device))
	s.block()
	d1 := s.grantOf(s.device)
	s.send("devices", "root 0 adds a second device", s.sign(namesvc.OpDevices, namesvc.DeviceList{
		Devices: []namesvc.Grant{d1, s.grant(s.second, 2, namesvc.ScopeMessage|namesvc.ScopeRenew)},
	}, s.phrase.Root(0)))
	s.block()
	s.send("renew", "the second device shows that the account is in use", s.sign(namesvc.OpRenew, namesvc.Renewal{}, s.second))
	s.block()
	alias := s.sign(namesvc.OpRegister, namesvc.Registration{Salt: [16]byte{3}, Handle: "alice_smith"}, s.phrase.Root(0))
	s.commit("commit-alias", "announces the registration of an alias", alias)
	s.block()
	s.send("register-alias", "the person registers an alias", alias)
	s.block()
	next := s.phrase.Root(2).Public().NextHash()
	s.send("roots", "the announced root 0 takes its place and announces the next", s.sign(namesvc.OpRoots, namesvc.RootList{
		Roots: []key.Public{s.phrase.Root(1).Public(), s.lower.Public()}, NextRoot: next[:],
	}, s.phrase.Root(1)))
	s.block()
	s.send("release-pending", "a lower root gives the alias back; it waits", s.sign(namesvc.OpRelease, namesvc.Release{Handle: "alice_smith"}, s.lower))
	pending := s.last
	s.block()
	s.leaf("entry-pending", "the person's entry while a release is pending", 'a', person[:], namesvc.Entry{})
	s.send("cancel", "root 0 cancels it", s.sign(namesvc.OpCancel, namesvc.Cancel{Op: pending}, s.phrase.Root(1)))
	s.block()
	s.send("release", "root 0 gives the alias back at once", s.sign(namesvc.OpRelease, namesvc.Release{Handle: "alice_smith"}, s.phrase.Root(1)))
	s.block()

	s.validators()
	s.sponsor()
	s.leaf("entry-person", "the person's entry at the end", 'a', person[:], namesvc.Entry{})
	s.leaf("entry-service", "the concierge's entry", 'a', harbor[:], namesvc.Entry{})
	s.leaf("handle", "who holds the skeleton allce", 'h', []byte("allce"), namesvc.HandleLeaf{})
	s.leaf("handle-released", "the alias, given back", 'h', []byte("allcesrnlth"), namesvc.HandleLeaf{})
	s.leaf("devices", "the person's devices", 'd', person[:], namesvc.Devices{})
	id := namesvc.Commit{Payment: ticket.Work, Hash: namesvc.CommitHash(alias)}.ID()
	s.leaf("commit", "the alias's commit, revealed", 'k', id[:], commitLeaf{})
	s.leaf("queue", "its place in the queue of commits", 'q', binary.BigEndian.AppendUint64(nil, 2), queueLeaf{})
	s.leaf("meter", "the chain's counters", 'm', nil, namesvc.Meter{})
	s.leaf("params", "the chain's parameters", 'p', nil, namesvc.Params{})
	s.leaf("validators", "the validator set", 'v', nil, namesvc.ValidatorSet{})
	s.leaf("checkpoint", "checkpoint 0: its digest is the chain's seed", 'c', make([]byte, 8), namesvc.Checkpoint{})
	s.leaf("rules", "the rule set in force", 'r', nil, namesvc.InForce{})
	lantern := s.lantern.Account()
	s.leaf("sponsor", "a sponsor that has paid twice on this day", 's', lantern[:], namesvc.Sponsor{})
	s.leaf("commit-sponsored", "a commit that it paid for", 'k', s.paid[:], commitLeaf{})
	s.leaf("operator", "what the operator of the chain's validator stands for", 'o', harbor[:], namesvc.Operator{})
}

// validators has a second service offer to run a validator, and the operator of
// the first vote for it.
func (s *tale) validators() {
	harbor, lantern := s.harbor.Account(), s.lantern.Account()
	height, now := s.law.Head()
	register := namesvc.SignOp(namesvc.Op{
		Kind: namesvc.OpRegister, Chain: s.params.Chain, Account: lantern, Seq: 1, Prev: lantern, Expires: height + 100,
	}, namesvc.Registration{Salt: [16]byte{4}, Genesis: s.lantern.Encode()}, s.lanternKey)
	s.commit("commit-operator", "announces an account without a handle", register)
	s.block()
	s.send("register-operator", "a service comes on the chain without a handle", register)
	s.block()
	k := key.Consensus(consensus("lantern").PubKey().Bytes())
	msg := namesvc.Possession(s.params.Chain, lantern, k)
	sig, err := consensus("lantern").Sign(wire.TagPossession.Message(msg))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := key.VerifyConsensus(k, wire.TagPossession, msg, key.ConsensusSignature(sig)); err != nil {
		s.t.Fatal(err)
	}
	s.msgs.Vectors = append(s.msgs.Vectors, vectors.Vector{Name: "possession", Items: explain(s.t, msg, possession{}, nil), Bytes: msg, Fields: []vectors.Field{
		field("about", "%s", "a validator's consensus key agrees to an operator account"), field("tag", "%q", string(wire.TagPossession)),
		field("signer", "%x", k), field("signature", "%x", sig),
	}})
	operate := namesvc.SignOp(namesvc.Op{
		Kind: namesvc.OpOperate, Chain: s.params.Chain, Account: lantern, Seq: 2, Prev: sha256.Sum256(register), Expires: height + 100,
	}, namesvc.Offer{Key: k[:], Possession: sig}, s.lanternKey)
	s.operated = sha256.Sum256(operate)
	s.send("operate", "it offers to run a validator", operate)
	s.block()
	s.send("vote", "the operator of the chain's validator votes for it", namesvc.SignOp(namesvc.Op{
		Kind: namesvc.OpVote, Chain: s.params.Chain, Account: harbor, Seq: 2, Prev: sha256.Sum256(s.service), Expires: height + 100,
	}, namesvc.Vote{Kind: namesvc.VotePower, Account: lantern, Number: 3, Until: now + 30*86400}, s.harborKey))
	s.block()
}

// sponsor has the second service pay for two people's registrations.
func (s *tale) sponsor() {
	lantern := s.lantern.Account()
	height, _ := s.law.Head()
	mint := namescript.NewMint("lantern")
	s.send("sponsor", "a service declares the key of its tickets", namesvc.SignOp(namesvc.Op{
		Kind: namesvc.OpSponsor, Chain: s.params.Chain, Account: lantern, Seq: 3, Prev: s.operated, Expires: height + 100,
	}, namesvc.Sponsorship{Key: mint.Key()}, s.lanternKey))
	s.block()
	for i, name := range []string{"sponsored", "another"} {
		hash := sha256.Sum256([]byte(name)) // of a registration that nobody reveals
		var cp namesvc.Checkpoint
		decodeLeaf(s.t, s.law, namesvc.CheckpointKey(0), &cp)
		challenge := ticket.Challenge(s.params.Chain, hash, cp.Digest)
		sig, err := mint.Ticket(challenge)
		if err != nil {
			s.t.Fatal(err)
		}
		c := namesvc.Commit{Chain: s.params.Chain, Expires: height + 100, Hash: hash, Payment: ticket.Blind, Proof: ticket.BlindProof(lantern, sig)}
		if i > 0 {
			s.waits = append(s.waits, waits{namesvc.EncodeCommit(c), -1})
			continue
		}
		s.paid = c.ID()
		s.send("commit-sponsored", "a commit that a sponsor's ticket pays for", namesvc.EncodeCommit(c))
		s.msgs.Vectors = append(s.msgs.Vectors, vectors.Vector{Name: "ticket-commit-sponsored", Fields: []vectors.Field{
			field("about", "what the ticket of this commit signs"), field("chain", "%s", s.params.Chain), field("commit", "%x", hash),
			field("checkpoint", "%x", cp.Digest), field("challenge", "%x", challenge), field("key", "%x", mint.Key()),
			field("signature", "%x", sig), field("id", "%x", s.paid),
		}})
	}
	s.block()
}

// grantOf lists a device that stays as it is.
func (s *tale) grantOf(d key.Device) namesvc.Grant {
	var list namesvc.Devices
	decodeLeaf(s.t, s.law, namesvc.DevicesKey(s.person.Account()), &list)
	dev, _ := list.Find(d.Public())
	return namesvc.Grant{Key: dev.Key, Scopes: dev.Scopes, Expires: dev.Expires}
}

// TestVectors_OfAChain tells a small chain and compares its ops, its leaves and
// what was signed with the files.
func TestVectors_OfAChain(t *testing.T) {
	s := newTale(t)
	s.msgs.Vectors = append(s.msgs.Vectors, s.accountVectors()...)
	s.tell()
	s.ops.About = "Every kind of op, as accepted on one chain in this order: height and time are those\n" +
		"of the op's block, root is the state's root after it. The chain's parameters are the\n" +
		"vector params of leaves.txt, its checkpoint 0 the vector checkpoint."
	s.leaves.About = "Every kind of leaf of the state, from the chain that ops.txt tells. The tree's key is\n" +
		"the SHA-256 of the preimage, leaf is the hash of the leaf's node in the tree."
	s.msgs.About = "Accounts, and what is signed or hashed beside ops, from the chain that ops.txt tells.\n" +
		"A signature is over the tag followed by the bytes; tags are written with their \\n."
	for name, f := range map[string]vectors.File{"ops.txt": s.ops, "leaves.txt": s.leaves, "messages.txt": s.msgs} {
		if err := vectors.Compare(filepath.Join(vectorsDir, name), f, *update); err != nil {
			t.Error(err)
		}
	}
}

// accountVectors are the two accounts, with how a phrase becomes root keys.
func (s *tale) accountVectors() []vectors.Vector {
	var out []vectors.Vector
	for name, g := range map[string]namesvc.Genesis{"genesis-person": s.person, "genesis-service": s.harbor} {
		b := g.Encode()
		out = append(out, vectors.Vector{Name: name, Items: explain(s.t, b, namesvc.Genesis{}, nil), Bytes: b, Fields: []vectors.Field{
			field("about", "a genesis op; the account's id is the SHA-256 of its bytes"), field("account", "%v", g.Account()),
		}})
	}
	if out[0].Name > out[1].Name {
		out[0], out[1] = out[1], out[0]
	}
	for n := range uint32(3) {
		r := s.phrase.Root(n)
		h := r.Public().NextHash()
		out = append(out, vectors.Vector{Name: fmt.Sprintf("root-%d", n), Fields: []vectors.Field{
			field("about", "root key %d of a phrase", n), field("phrase", "%s", wordsOfZero),
			field("seed", "%x", r.Seed()), field("public", "%v", r.Public()), field("next_hash", "%x", h),
		}})
	}
	return out
}
