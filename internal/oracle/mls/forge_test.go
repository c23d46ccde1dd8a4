package mls_test

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

// forged is a group whose members exist only as a ratchet tree: one in which
// everybody has committed, from the last leaf to the first, so that each parent
// has a key. Building it by 10,000 joins and commits would take an hour; signing
// it takes a second. Whoever joins it from outside is in a real epoch.
type forged struct {
	t       testing.TB
	rand    io.Reader
	suite   mls.CipherSuite
	groupID []byte
	members int
	twist   twist
	nodes   [][]byte // encoded, nil if blank
	keys    [][]byte // public keys so far
}

// twist is one thing wrong with a forged group.
type twist string

const (
	parentHashOfAnother twist = "a leaf has a parent hash of nothing"
	leafSignedByAnother twist = "a leaf is signed by another member"
	leafForAnotherPlace twist = "a leaf is signed for another place"
	encryptionKeyTwice  twist = "two nodes have one encryption key"
	signatureKeyTwice   twist = "two leaves have one signature key"
	suiteNotSupported   twist = "a leaf does not list the suite"
	unmergedFromOutside twist = "an unmerged leaf is not below its parent"
	unmergedAndBlank    twist = "an unmerged leaf is blank"
	unmergedOutOfOrder  twist = "unmerged leaves are out of order"
	blankAtTheEnd       twist = "the tree ends with a blank"
	treeHashOfAnother   twist = "the tree has another hash"
	signerIsBlank       twist = "the group info is signed by a blank leaf"
	infoSignedByAnother twist = "the group info is signed by another member"
	externalPubTooShort twist = "external_pub is too short"
	externalPubIsZero   twist = "external_pub is a point of small order"
	leafKeyIsZero       twist = "a leaf's encryption key is a point of small order"
)

// twisted is where a twist of one leaf is applied: in the middle of the tree, on
// the left of a parent, whose hash it has.
func (f *forged) twisted(i int, w twist) bool { return f.twist == w && i == f.members/2&^1 }

// tls is an encoding of RFC 9420 in the making.
type tls []byte

func (b tls) u8(v uint8) tls   { return append(b, v) }
func (b tls) u16(v uint16) tls { return binary.BigEndian.AppendUint16(b, v) }
func (b tls) u32(v uint32) tls { return binary.BigEndian.AppendUint32(b, v) }
func (b tls) u64(v uint64) tls { return binary.BigEndian.AppendUint64(b, v) }
func (b tls) vec(v []byte) tls {
	switch n := len(v); {
	case n < 1<<6:
		b = b.u8(uint8(n))
	case n < 1<<14:
		b = b.u16(uint16(n) | 1<<14)
	default:
		b = b.u32(uint32(n) | 1<<31)
	}
	return append(b, v...)
}

// signed is SignWithLabel of RFC 9420 §5.1.2.
func signed(key ed25519.PrivateKey, label string, content []byte) []byte {
	return ed25519.Sign(key, tls(nil).vec([]byte("MLS 1.0 "+label)).vec(content))
}

func phantomKey(i int) ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	binary.BigEndian.PutUint32(seed[:], uint32(i+1))
	return ed25519.NewKeyFromSeed(seed[:])
}

func phantomName(i int) []byte { return fmt.Appendf(nil, "member-%06d", i) }

// random returns n fresh bytes.
func (f *forged) random(n int) []byte {
	b := make([]byte, n)
	_, err := io.ReadFull(f.rand, b)
	noError(f.t, err)
	return b
}

func (f *forged) publicKey() []byte {
	k, err := ecdh.X25519().NewPrivateKey(f.random(32))
	noError(f.t, err)
	f.keys = append(f.keys, k.PublicKey().Bytes())
	return k.PublicKey().Bytes()
}

// leaf encodes the leaf of a member who committed (§7.2).
func (f *forged) leaf(i int, parentHash []byte) []byte {
	key, encryption, place := phantomKey(i), f.publicKey(), i
	suites := tls(nil).u16(uint16(f.suite))
	switch {
	case f.twisted(i, parentHashOfAnother):
		parentHash = f.random(sha256.Size)
	case f.twisted(i, leafForAnotherPlace):
		place++
	case f.twisted(i, encryptionKeyTwice):
		encryption = f.keys[0]
	case f.twisted(i, leafKeyIsZero):
		encryption = make([]byte, 32)
	case f.twisted(i, signatureKeyTwice):
		key = phantomKey(i + 1)
	case f.twisted(i, suiteNotSupported):
		suites = tls(nil).u16(0xFFF0)
	}
	body := tls(nil).vec(encryption).vec(key.Public().(ed25519.PublicKey))
	if f.twisted(i, leafSignedByAnother) {
		key = phantomKey(i + 1)
	}
	body = body.u16(1).vec(phantomName(i))
	body = body.vec(tls(nil).u16(1)).vec(suites).vec(nil).vec(nil).vec(tls(nil).u16(1))
	body = body.u8(3).vec(parentHash).vec(nil)
	tbs := append(tls(nil), body...).vec(f.groupID).u32(uint32(place))
	return body.vec(signed(key, "LeafNodeTBS", tbs))
}

// build fills the subtree over size leaves from lo on and returns its tree hash
// (§7.8). parentHash is what its committer put below its parent (§7.9).
func (f *forged) build(lo, size int, parentHash []byte) []byte {
	if size == 1 {
		input := tls(nil).u8(1).u32(uint32(lo))
		if lo >= f.members {
			return sum(input.u8(0))
		}
		leaf := f.leaf(lo, parentHash)
		f.nodes[2*lo] = append([]byte{1}, leaf...)
		return sum(append(input.u8(1), leaf...))
	}
	half := size / 2
	if lo+half >= f.members { // filtered: nobody on the right
		left := f.build(lo, half, parentHash)
		return sum(tls(nil).u8(2).u8(0).vec(left).vec(f.build(lo+half, half, nil)))
	}
	right := f.build(lo+half, half, f.random(sha256.Size))
	key := f.publicKey()
	left := f.build(lo, half, sum(tls(nil).vec(key).vec(parentHash).vec(right)))
	node := tls(nil).vec(key).vec(parentHash).vec(f.unmerged(lo, size))
	f.nodes[2*lo+size-1] = append([]byte{2}, node...)
	return sum(append(tls(nil).u8(2).u8(1), node...).vec(left).vec(right))
}

// unmerged is empty but for twists: of the leftmost node over four leaves.
func (f *forged) unmerged(lo, size int) []byte {
	if lo != 0 || size != 4 {
		return nil
	}
	switch f.twist {
	case unmergedFromOutside:
		return tls(nil).u32(uint32(f.members - 1))
	case unmergedAndBlank:
		return tls(nil).u32(uint32(f.members))
	case unmergedOutOfOrder:
		return tls(nil).u32(2).u32(1)
	}
	return nil
}

func sum(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

// groupInfo invites to the forged group (§12.4.3).
func (f *forged) groupInfo() []byte {
	width := 1
	for width < f.members {
		width *= 2
	}
	f.nodes = make([][]byte, 2*width-1)
	treeHash := f.build(0, width, nil)
	var tree tls
	for _, n := range f.nodes[:2*f.members-1] {
		if n == nil {
			tree = tree.u8(0)
		} else {
			tree = append(tree.u8(1), n...)
		}
	}
	pub, signer, key := f.publicKey(), uint32(0), phantomKey(0)
	switch f.twist {
	case blankAtTheEnd:
		tree = tree.u8(0)
	case treeHashOfAnother:
		treeHash[0] ^= 1
	case signerIsBlank:
		signer = uint32(f.members)
	case infoSignedByAnother:
		key = phantomKey(1)
	case externalPubTooShort:
		pub = pub[:31]
	case externalPubIsZero:
		pub = make([]byte, 32)
	}
	info := tls(nil).u16(1).u16(uint16(f.suite)).vec(f.groupID).u64(uint64(f.members)).vec(treeHash).vec(f.random(32)).vec(nil)
	extensions := tls(nil).u16(2).vec(tls(nil).vec(tree)).u16(4).vec(tls(nil).vec(pub))
	info = info.vec(extensions).vec(f.random(32)).u32(signer)
	info = info.vec(signed(key, "GroupInfoTBS", info))
	return append(tls(nil).u16(1).u16(4), info...)
}

// TestForgedGroups: talk/mls joins a forged group and refuses it when one thing
// is wrong with it. What mls-go and ts-mls say is logged.
func TestForgedGroups(t *testing.T) {
	needNode(t)
	ts := startChild(t, "driver.mjs", corrections()...)
	for _, w := range []twist{"", parentHashOfAnother, leafSignedByAnother, leafForAnotherPlace, encryptionKeyTwice,
		signatureKeyTwice, suiteNotSupported, unmergedFromOutside, unmergedAndBlank, unmergedOutOfOrder, blankAtTheEnd,
		treeHashOfAnother, signerIsBlank, infoSignedByAnother, externalPubTooShort, externalPubIsZero, leafKeyIsZero} {
		f := &forged{t: t, rand: rand.NewChaCha8([32]byte{1}), suite: mls.X25519AES128, groupID: []byte("forged"), members: 11, twist: w}
		info := f.groupInfo()
		x := newTable(t)
		other, err := newTSClient(ts, "ts "+string(w), x.suite)
		noError(t, err)
		for _, c := range []client{x.newClient("ours", "ours"), x.newClient("mls-go", "mls-go"), other} {
			_, _, err := c.joinExternal(info, nil)
			switch {
			case w == "" && err != nil:
				t.Errorf("%s refuses a right group: %v", c.kind(), err)
			case w != "" && err == nil && c.kind() == "talk/mls":
				t.Errorf("%s joins although %s", c.kind(), w)
			case w != "" && err == nil:
				t.Logf("%s joins although %s", c.kind(), w)
			case c.kind() == "talk/mls" && err != nil:
				t.Logf("%s: %v", w, err)
			}
		}
	}
}
