package chain_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/ticket"
)

func consensusParams() *cmtproto.ConsensusParams {
	p := chain.ConsensusParams().ToProto()
	return &p
}

// person is an account with its keys, whose ops are made by hand.
type person struct {
	t       testing.TB
	rand    io.Reader
	root    key.Root
	device  key.Device
	id      namesvc.AccountID
	genesis namesvc.Genesis
	seq     uint64
	last    [32]byte
	chain   string
}

func newPerson(t testing.TB, chainID string) *person { return newPersonFrom(t, rand.Reader, chainID) }

func newPersonFrom(t testing.TB, r io.Reader, chainID string) *person {
	t.Helper()
	root, err := key.NewRoot(r)
	if err != nil {
		t.Fatal(err)
	}
	device, err := key.NewDevice(r)
	if err != nil {
		t.Fatal(err)
	}
	g, err := namesvc.NewGenesis(r, namesvc.Person, [32]byte{}, root.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, rand: r, root: root, device: device, genesis: g, id: g.Account(), last: g.Account(), chain: chainID}
}

func (p *person) op(kind namesvc.OpKind, body any, by namesvc.Signer, expires uint64) []byte {
	p.t.Helper()
	op := namesvc.SignOp(namesvc.Op{Kind: kind, Chain: p.chain, Account: p.id, Seq: p.seq + 1, Prev: p.last, Expires: expires}, body, by)
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		p.t.Fatal(fault)
	}
	p.seq, p.last = p.seq+1, tx.ID
	return op
}

// registration returns a commit and the op that reveals it.
func (p *person) registration(h namesvc.Handle, m *machine) (commit, register []byte) {
	p.t.Helper()
	height, now := m.Head()
	expires := now + 90*24*3600
	consent := p.device.SignConsent(namesvc.Consent(p.chain, p.id, 1, p.device.Public(), namesvc.AllScopes, expires))
	body := namesvc.Registration{Handle: h, Genesis: p.genesis.Encode(), Devices: []namesvc.Grant{{
		Key: p.device.Public(), Scopes: namesvc.AllScopes, Expires: expires, Consent: consent[:],
	}}}
	io.ReadFull(p.rand, body.Salt[:])
	register = p.op(namesvc.OpRegister, body, p.root, height+m.params.Reveal)
	return m.commitTo(p.t, register), register
}

// commitTo returns a commit that announces the op, with work for the newest
// checkpoint.
func (m *machine) commitTo(t testing.TB, register []byte) []byte {
	t.Helper()
	b, err := m.Get(namesvc.MeterKey())
	if err != nil {
		t.Fatal(err)
	}
	meter, err := namesvc.DecodeMeter(b)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = m.Get(namesvc.CheckpointKey(meter.Checkpoint)); err != nil {
		t.Fatal(err)
	}
	cp, err := namesvc.DecodeCheckpoint(b)
	if err != nil {
		t.Fatal(err)
	}
	hash := namesvc.CommitHash(register)
	want := namesvc.RequiredBits(m.params, meter, m.time)
	nonce, err := ticket.Solve(ctx, ticket.Challenge(m.params.Chain, hash, cp.Digest), want, m.params.WorkKiB, 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return namesvc.EncodeCommit(namesvc.Commit{
		Chain: m.params.Chain, Expires: m.height + m.params.Reveal, Hash: hash,
		Checkpoint: cp.Number, Payment: ticket.Work, Proof: ticket.Nonce(nonce),
	})
}

// must puts ops into a block in which all must be accepted.
func (m *machine) must(t testing.TB, ops ...[]byte) {
	t.Helper()
	receipts, err := m.Block(ops, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.Code != namesvc.Accepted {
			t.Fatalf("op %d: %v: %s", i, r.Code, r.Detail)
		}
	}
}

// register puts n people on the chain.
func (m *machine) register(t testing.TB, n int) []*person {
	t.Helper()
	var people []*person
	var commits, reveals [][]byte
	for i := range n {
		p := newPerson(t, m.params.Chain)
		c, r := p.registration(namesvc.Handle(fmt.Sprintf("person%d", 1000+i*7)), m)
		people, commits, reveals = append(people, p), append(commits, c), append(reveals, r)
	}
	m.must(t, commits...)
	m.must(t, reveals...)
	return people
}

func testParams() namesvc.Params {
	p := namesvc.DevParams("confab-test")
	p.WorkBits, p.WorkKiB = 0, 8
	return p
}

func (m *machine) check(t testing.TB, op []byte) *abci.ResponseCheckTx {
	t.Helper()
	r, err := m.app.CheckTx(ctx, &abci.RequestCheckTx{Tx: op})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (m *machine) propose(t testing.TB, ops [][]byte, room int64) [][]byte {
	t.Helper()
	r, err := m.app.PrepareProposal(ctx, &abci.RequestPrepareProposal{
		Txs: ops, MaxTxBytes: room, Height: int64(m.height + 1), Time: time.Unix(int64(m.time+1), 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Txs
}

func (m *machine) accepts(t testing.TB, ops [][]byte) bool {
	t.Helper()
	r, err := m.app.ProcessProposal(ctx, &abci.RequestProcessProposal{
		Txs: ops, Height: int64(m.height + 1), Time: time.Unix(int64(m.time+1), 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status == abci.ResponseProcessProposal_ACCEPT
}

func TestLanes_UpdatesNeverWaitBehindRegistrations(t *testing.T) {
	p := testParams()
	p.Lanes = namesvc.Lanes{Renewals: 2, Updates: 2, Commits: 2, Registrations: 1}
	m := newMachine(t, p)
	m.must(t)
	people := m.register(t, 3)

	// The mempool is full of commits, and the updates came last.
	var waiting [][]byte
	for i := range 20 {
		c, _ := newPerson(t, p.Chain).registration(namesvc.Handle(fmt.Sprintf("crowd%d", i)), m)
		waiting = append(waiting, c)
	}
	var updates [][]byte
	for i, who := range people {
		hash := bytes.Repeat([]byte{byte(i + 1)}, 32)
		updates = append(updates, who.op(namesvc.OpRecords, namesvc.Records{Profile: hash}, who.device, m.height+10))
	}
	waiting = append(waiting, updates...)

	got := m.propose(t, waiting, 1<<20)
	if len(got) != 4 || !bytes.Equal(got[0], updates[0]) || !bytes.Equal(got[1], updates[1]) {
		t.Errorf("a block of %d ops, of which the first two should be the oldest updates and two more commits", len(got))
	}
	if !m.accepts(t, got) {
		t.Error("an honest proposal was refused")
	}

	// In a block with room for hardly anything, the update is what gets in.
	got = m.propose(t, waiting, int64(len(updates[0])+8))
	if len(got) != 1 || !bytes.Equal(got[0], updates[0]) {
		t.Errorf("%d ops in a tiny block, want the one update", len(got))
	}
}

func TestLanes_ProposalsBeyondTheirLanesAreRefused(t *testing.T) {
	p := testParams()
	p.Lanes.Commits = 2
	m := newMachine(t, p)
	m.must(t)
	var commits [][]byte
	for i := range 3 {
		c, _ := newPerson(t, p.Chain).registration(namesvc.Handle(fmt.Sprintf("crowd%d", i)), m)
		commits = append(commits, c)
	}
	if !m.accepts(t, commits[:2]) || m.accepts(t, commits) {
		t.Error("two commits must be accepted and three refused")
	}
	if m.accepts(t, [][]byte{{1, 2, 3}}) {
		t.Error("a proposal with garbage must be refused")
	}
}

func TestPrepareProposal_DropsWhatTheLawWouldRefuse(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	who := m.register(t, 1)[0]
	good := who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, m.height+10)
	stale := *who
	stale.seq, stale.last = 0, who.id
	bad := stale.op(namesvc.OpRecords, namesvc.Records{Avatar: make([]byte, 32)}, who.device, m.height+10)
	got := m.propose(t, [][]byte{bad, {9}, good}, 1<<20)
	if len(got) != 1 || !bytes.Equal(got[0], good) {
		t.Errorf("the proposal has %d ops, want the good one alone", len(got))
	}
}

// TestFinalizeBlock_OneBadOpNeverHarmsAnother is the regression test of a peer's
// fault: one invalid update made it drop all that came with it.
func TestFinalizeBlock_OneBadOpNeverHarmsAnother(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	people := m.register(t, 3)
	var ops [][]byte
	for i, who := range people {
		op := who.op(namesvc.OpRecords, namesvc.Records{Profile: bytes.Repeat([]byte{7}, 32)}, who.device, m.height+10)
		if i == 1 {
			op[len(op)-1] ^= 1
		}
		ops = append(ops, op, []byte("garbage"))
	}
	receipts, err := m.Block(ops, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []namesvc.RejectCode{namesvc.Accepted, namesvc.Malformed, namesvc.BadSignature, namesvc.Malformed, namesvc.Accepted, namesvc.Malformed}
	for i, r := range receipts {
		if r.Code != want[i] {
			t.Errorf("op %d: %v, want %v", i, r.Code, want[i])
		}
	}
}

func TestCheckTx_AnOpThatTheMempoolDroppedCanBeSentAgain(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	who := m.register(t, 1)[0]
	first := who.op(namesvc.OpRecords, namesvc.Records{Profile: bytes.Repeat([]byte{1}, 32)}, who.device, m.height+10)
	second := who.op(namesvc.OpRecords, namesvc.Records{Profile: bytes.Repeat([]byte{2}, 32)}, who.device, m.height+10)
	if r := m.check(t, first); r.Code != 0 {
		t.Fatal(r.Log)
	}
	if r := m.check(t, second); r.Code != 0 {
		t.Fatalf("an account's next op must be able to wait behind its last: %s", r.Log)
	}
	// CometBFT drops both without a word, and a block goes by.
	m.must(t)
	if r := m.check(t, first); r.Code != 0 {
		t.Errorf("an op that was dropped was refused when it came again: %s", r.Log)
	}
}

func TestCheckTx_ALaneThatIsFullSaysSo(t *testing.T) {
	p := testParams()
	p.Daily = 1 << 20 // or the work gets harder as they come
	m := newMachine(t, p)
	m.must(t)
	full := 0
	for i := range 4000 {
		c, _ := newPerson(t, m.params.Chain).registration(namesvc.Handle(fmt.Sprintf("crowd%d", i)), m)
		if r := m.check(t, c); r.Code == chain.LaneFull {
			full++
			break
		} else if r.Code != 0 {
			t.Fatal(r.Log)
		}
	}
	if full == 0 {
		t.Fatal("4,000 commits found room in the mempool")
	}
	// The updates' lane is not touched by that.
	people := m.register(t, 1)
	op := people[0].op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, people[0].device, m.height+10)
	if r := m.check(t, op); r.Code != 0 {
		t.Error(r.Log)
	}
	// With a block the count begins anew: what still waits is checked again.
	m.must(t)
	c, _ := newPerson(t, m.params.Chain).registration("late", m)
	if r := m.check(t, c); r.Code != 0 {
		t.Errorf("after a block the lane is still full: %s", r.Log)
	}
}

func TestApp_GoesOnWhereItWasAfterARestart(t *testing.T) {
	p := testParams()
	p.Checkpoint = 5
	m := newMachine(t, p)
	m.must(t)
	who := m.register(t, 1)[0]
	for m.height < 11 {
		m.must(t)
	}
	// A block that was finalized and not committed leaves nothing.
	op := who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, m.height+10)
	hash := make([]byte, 32)
	if _, err := m.app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Txs: [][]byte{op}, Hash: hash, Height: int64(m.height + 1), Time: time.Unix(int64(m.time+1), 0)}); err != nil {
		t.Fatal(err)
	}
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	info, err := m.app.Info(ctx, &abci.RequestInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if root := m.twin.Root(); info.LastBlockHeight != int64(m.height) || !bytes.Equal(info.LastBlockAppHash, root[:]) {
		t.Fatalf("after a restart the app is at %d %x, want %d %x", info.LastBlockHeight, info.LastBlockAppHash, m.height, root)
	}
	m.must(t, op)
	for m.height < 17 {
		m.must(t) // through the next checkpoint
	}
	if mark, _ := m.app.Last(); mark.History.Size() != m.height {
		t.Errorf("the history is over %d blocks, want %d", mark.History.Size(), m.height)
	}
}

func TestInitChain_RefusesAnotherChainsGenesis(t *testing.T) {
	m := newMachine(t, testParams())
	for _, tc := range []struct{ name, chain, state, want string }{
		{"chain id", "other", `{}`, `of "other"`},
		{"unknown field", m.params.Chain, `{"params":{},"more":1}`, "unknown field"},
		{"bad parameters", m.params.Chain, `{"params":{"version":1,"chain":"confab-test"}}`, "min_handle"},
	} {
		_, err := m.app.InitChain(ctx, &abci.RequestInitChain{ChainId: tc.chain, AppStateBytes: []byte(tc.state), InitialHeight: 1})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error about %q", tc.name, err, tc.want)
		}
	}
}

func TestCheckpoints_AreRecordedKeptAndSealed(t *testing.T) {
	p := testParams()
	p.Checkpoint = 3
	m := newMachine(t, p)
	for m.height < 3 {
		m.must(t)
	}
	// Block 3 is a checkpoint; whoever votes on block 4 seals it, and again at
	// block 5.
	ext := func() []byte {
		t.Helper()
		r, err := m.app.ExtendVote(ctx, &abci.RequestExtendVote{Height: int64(m.height + 1)})
		if err != nil {
			t.Fatal(err)
		}
		return r.VoteExtension
	}
	first := ext()
	number, digest, err := verify.ParseSealExtension(first)
	if err != nil || number != 1 {
		t.Fatalf("seal of checkpoint %d: %v", number, err)
	}
	m.must(t)
	if !bytes.Equal(ext(), first) {
		t.Error("two seals of one checkpoint differ")
	}
	cp, ok, err := m.app.Checkpoint(1)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if cp.Digest(verify.ChainTag(p.Chain)) != digest || cp.Height != 3 {
		t.Errorf("what was sealed is not what was recorded: %+v", cp)
	}
	// The state after block 3 is what the checkpoint says.
	r, err := m.store.At(3)
	if err != nil {
		t.Fatal(err)
	}
	if r.Root() != cp.AppHash {
		t.Error("the checkpoint names another root than the state had")
	}
	r.Close()
	m.app.KeepSeals(1, verify.Seals{Height: 4, Signatures: make([]verify.Signature, 4)})
	m.must(t)
	if _, ok, err := m.app.Seals(1); err != nil || !ok {
		t.Error("the seals were not kept", err)
	}
	// 110 blocks later the height is gone for ordinary ones, and not for this.
	for m.height < 115 {
		m.must(t)
	}
	if _, err := m.store.At(4); err == nil {
		t.Error("an ordinary height was kept")
	}
	r, err = m.store.At(3)
	if err != nil {
		t.Fatalf("the checkpoint's height is gone: %v", err)
	}
	defer r.Close()
	k := statetree.Key(namesvc.ParamsKey())
	value, err := r.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := r.Prove(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := statetree.Verify(cp.AppHash, k, value, proof); err != nil {
		t.Error(err)
	}
}

func TestVerifyVoteExtension_JudgesOnlyTheSize(t *testing.T) {
	m := newMachine(t, testParams())
	for size, want := range map[int]abci.ResponseVerifyVoteExtension_VerifyStatus{
		0: abci.ResponseVerifyVoteExtension_ACCEPT, 41: abci.ResponseVerifyVoteExtension_ACCEPT,
		64: abci.ResponseVerifyVoteExtension_ACCEPT, 65: abci.ResponseVerifyVoteExtension_REJECT,
	} {
		r, err := m.app.VerifyVoteExtension(ctx, &abci.RequestVerifyVoteExtension{VoteExtension: make([]byte, size)})
		if err != nil || r.Status != want {
			t.Errorf("%d bytes: %v %v, want %v", size, r, err, want)
		}
	}
}

func TestHistory_ListsAnAccountsOpsInOrder(t *testing.T) {
	m := newMachine(t, testParams())
	m.must(t)
	who := m.register(t, 1)[0]
	var want [][]byte
	for i := range 5 {
		op := who.op(namesvc.OpRecords, namesvc.Records{Profile: bytes.Repeat([]byte{byte(i + 1)}, 32)}, who.device, m.height+10)
		want = append(want, op)
		m.must(t, op)
	}
	list, err := m.app.History(who.id, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	for i, o := range list {
		if o.Seq != uint64(i+2) {
			t.Errorf("op %d has sequence %d", i, o.Seq)
		}
		got = append(got, o.Op)
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d ops, want %d", len(got), len(want))
	}
}
