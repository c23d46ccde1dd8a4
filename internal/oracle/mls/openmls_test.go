package mls_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// wireSeat is a client of core-crypto with its group.
type wireSeat struct {
	*child
	group string // hex of its identity
	last  tsAnswer
}

func newWire(t testing.TB, c *child, suite mls.CipherSuite) *wireSeat {
	w := &wireSeat{child: c}
	var a tsAnswer
	noError(t, c.call("client", map[string]any{"suite": uint16(suite)}, &a))
	w.group = a.Group
	return w
}

func (w *wireSeat) do(op string, args map[string]any) (tsAnswer, error) {
	if args == nil {
		args = map[string]any{}
	}
	args["group"] = w.group
	var a tsAnswer
	err := w.call(op, args, &a)
	if a.Exported != "" {
		w.last = a
	}
	return a, err
}

// mixed is a group of talk/mls and OpenMLS.
type mixed struct {
	t     testing.TB
	rng   *rand.Rand
	suite mls.CipherSuite
	child *child
	keys  *rand.ChaCha8
	ours  []*ourMember
	wire  []*wireSeat
	born  int
	info  string // the group info that OpenMLS published last, if it is of this epoch
}

// newOurs makes a client with an identity that core-crypto can parse.
func (x *mixed) newOurs() *ourClient {
	x.born++
	c, err := newOurClient(fmt.Sprintf("00000000-0000-4000-8000-000000000002:%x@example.org", x.born), x.suite, x.keys)
	noError(x.t, err)
	// core-crypto demands that members understand certificates as well.
	c.capabilities = mls.DefaultCapabilities()
	c.capabilities.Credentials = append(c.capabilities.Credentials, mls.CredentialX509)
	return c
}

// agree compares epochs and secrets: core-crypto exports with one label only.
func (x *mixed) agree() {
	x.t.Helper()
	want, err := x.ours[0].g.Export("exporter", nil, 32)
	noError(x.t, err)
	for i, m := range x.ours {
		got, err := m.g.Export("exporter", nil, 32)
		noError(x.t, err)
		if hex.EncodeToString(got) != hex.EncodeToString(want) {
			x.t.Fatalf("our member %d exports something else", i)
		}
	}
	for i, w := range x.wire {
		if w.last.Exported != hex.EncodeToString(want) || w.last.Epoch != x.ours[0].g.Epoch() || len(w.last.Members) != len(x.ours)+len(x.wire) {
			x.t.Fatalf("OpenMLS member %d: epoch %d with %d members, ours: epoch %d with %d", i, w.last.Epoch,
				len(w.last.Members), x.ours[0].g.Epoch(), len(x.ours)+len(x.wire))
		}
	}
}

// deliver brings a message to all but one.
func (x *mixed) deliver(message []byte, notOurs *ourMember, notWire *wireSeat) (read []string) {
	x.t.Helper()
	for _, m := range x.ours {
		if m != notOurs {
			data, err := m.receive(message)
			noError(x.t, err)
			read = append(read, string(data))
		}
	}
	for _, w := range x.wire {
		if w != notWire {
			a, err := w.do("receive", map[string]any{"message": hex.EncodeToString(message)})
			noError(x.t, err)
			data, err := hex.DecodeString(a.Data)
			noError(x.t, err)
			read = append(read, string(data))
		}
	}
	return read
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	noError(t, err)
	return b
}

// newcomers makes one client of each implementation with its key package.
func (x *mixed) newcomers() (list []proposal, ours *ourClient, wire *wireSeat) {
	ours, wire = x.newOurs(), newWire(x.t, x.child, x.suite)
	k, err := ours.offer()
	noError(x.t, err)
	a, err := wire.do("offer", nil)
	noError(x.t, err)
	return []proposal{{kind: proposeAdd, keyPackage: k}, {kind: proposeAdd, keyPackage: unhex(x.t, a.Message)}}, ours, wire
}

// commit lets a random member commit.
func (x *mixed) commit(list []proposal, ours *ourClient, wire *wireSeat) {
	x.t.Helper()
	var welcome []byte
	if x.rng.IntN(2) == 0 || len(x.wire) == 0 {
		from := x.ours[x.rng.IntN(len(x.ours))]
		message, w, err := from.commit(list, true) // the group of core-crypto takes no others
		noError(x.t, err)
		x.deliver(message, from, nil)
		welcome, x.info = w, ""
	} else {
		from := x.wire[x.rng.IntN(len(x.wire))]
		var args []map[string]any
		for _, p := range list {
			args = append(args, map[string]any{"kind": p.kind, "keyPackage": hex.EncodeToString(p.keyPackage), "id": hex.EncodeToString(p.pskID)})
		}
		if args == nil {
			args = []map[string]any{}
		}
		a, err := from.do("commit", map[string]any{"proposals": args})
		noError(x.t, err)
		x.deliver(unhex(x.t, a.Message), nil, from)
		welcome, x.info = unhex(x.t, a.Welcome), a.GroupInfo
	}
	if ours != nil {
		m, err := ours.join(welcome)
		noError(x.t, err)
		x.ours = append(x.ours, m.(*ourMember))
		_, err = wire.do("join", map[string]any{"welcome": hex.EncodeToString(welcome)})
		noError(x.t, err)
		x.wire = append(x.wire, wire)
	}
	x.agree()
}

// remove takes one of each out, by a commit of one who stays: OpenMLS is told
// who by identity, ours by leaf.
func (x *mixed) remove() {
	i, j := x.rng.IntN(len(x.ours)), x.rng.IntN(len(x.wire))
	leaver, wire := x.ours[i], x.wire[j]
	x.ours, x.wire = slices.Delete(x.ours, i, i+1), slices.Delete(x.wire, j, j+1)
	var list []proposal
	for _, m := range x.ours[0].g.Members() {
		id := m.Leaf.Credential.Identity
		if string(id) == leaver.c.identity || hex.EncodeToString(id) == wire.group {
			list = append(list, proposal{kind: proposeRemove, leaf: uint32(m.Index), pskID: id})
		}
	}
	if len(list) != 2 {
		x.t.Fatalf("found %d of 2 who leave", len(list))
	}
	x.commit(list, nil, nil)
}

// joinExternal lets ours join by a group info of OpenMLS, if there is one, and
// OpenMLS by one of ours.
func (x *mixed) joinExternal() {
	if x.info != "" {
		m, commit, err := x.newOurs().joinExternal(unhex(x.t, x.info), nil)
		noError(x.t, err)
		x.deliver(commit, nil, nil)
		x.ours = append(x.ours, m.(*ourMember))
		x.agree()
	}
	info, err := x.ours[x.rng.IntN(len(x.ours))].groupInfo()
	noError(x.t, err)
	w := newWire(x.t, x.child, x.suite)
	a, err := w.do("joinExternal", map[string]any{"groupInfo": hex.EncodeToString(info)})
	noError(x.t, err)
	x.deliver(unhex(x.t, a.Message), nil, nil)
	x.wire, x.info = append(x.wire, w), a.GroupInfo
	x.agree()
}

func (x *mixed) write() {
	data := fmt.Sprintf("message %d", x.rng.Uint32())
	from := x.ours[x.rng.IntN(len(x.ours))]
	message, err := from.encrypt([]byte(data))
	noError(x.t, err)
	read := x.deliver(message, from, nil)
	w := x.wire[x.rng.IntN(len(x.wire))]
	a, err := w.do("encrypt", map[string]any{"data": hex.EncodeToString([]byte(data))})
	noError(x.t, err)
	for _, got := range append(read, x.deliver(unhex(x.t, a.Message), nil, w)...) {
		if got != data {
			x.t.Fatalf("%q became %q", data, got)
		}
	}
}

// TestOpenMLS plays random groups with Wire's build of OpenMLS: key packages,
// Welcomes, commits, removals, external joins, group infos and messages in both
// directions, with equal secrets after each epoch.
func TestOpenMLS(t *testing.T) {
	needNode(t)
	steps := 15
	if os.Getenv("CONFAB_LONG") != "" {
		steps = 200
	}
	for _, suite := range []mls.CipherSuite{mls.X25519AES128, mls.X25519ChaCha20} {
		t.Run(suite.String(), func(t *testing.T) {
			x := &mixed{t: t, rng: rand.New(rand.NewPCG(1, uint64(suite))), suite: suite,
				child: startChild(t, "wire.mjs"), keys: rand.NewChaCha8([32]byte{byte(suite)})}
			m, err := x.newOurs().create([]byte("mixed group"))
			noError(t, err)
			x.ours = []*ourMember{m.(*ourMember)}
			x.commit(x.newcomers())
			for range steps {
				n := len(x.ours) + len(x.wire)
				switch r := x.rng.IntN(10); {
				case r < 3:
					x.write()
				case r < 5 && n+2 <= maxGroup:
					x.commit(x.newcomers())
				case r < 6 && n+2 <= maxGroup:
					x.joinExternal()
				case r < 8 && len(x.ours) > 2 && len(x.wire) > 2:
					x.remove()
				default:
					x.commit(nil, nil, nil)
				}
			}
			t.Logf("%d steps agreed, to epoch %d", steps, x.ours[0].g.Epoch())
		})
	}
}

// TestOpenMLS_Founds: the group is made by OpenMLS and ours join it.
func TestOpenMLS_Founds(t *testing.T) {
	needNode(t)
	x := &mixed{t: t, rng: rand.New(rand.NewPCG(2, 2)), suite: mls.X25519AES128,
		child: startChild(t, "wire.mjs"), keys: rand.NewChaCha8([32]byte{9})}
	founder := newWire(t, x.child, x.suite)
	_, err := founder.do("create", map[string]any{"id": hex.EncodeToString([]byte("theirs"))})
	noError(t, err)
	ours := x.newOurs()
	k, err := ours.offer()
	noError(t, err)
	a, err := founder.do("commit", map[string]any{"proposals": []map[string]any{{"kind": proposeAdd, "keyPackage": hex.EncodeToString(k)}}})
	noError(t, err)
	m, err := ours.join(unhex(t, a.Welcome))
	noError(t, err)
	x.ours, x.wire = []*ourMember{m.(*ourMember)}, []*wireSeat{founder}
	x.agree()
	x.write()
	x.joinExternal()
	x.write()
}
