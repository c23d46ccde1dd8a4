package statetree_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/statetree"
)

var updateVectors = flag.Bool("update", false, "write testdata/vectors.txt anew")

const vectorsFile = "testdata/vectors.txt"

const vectorsHead = `# Vectors of the state tree, for readers in any language. One fact a line, its
# words separated by single spaces; byte strings are hexadecimal, - is none.
#
#   tree NAME            an empty tree; what follows is of this one
#   set KEY VALUE        the key gets the value
#   delete KEY           the key gets none
#   root ROOT            the root of the tree as it is now
#   value KEY VALUE PROOF    the proof shows that the key has the value
#   absent KEY PROOF         the proof shows that the key has none
#   refuse KEY VALUE PROOF   the proof shows no such thing (VALUE -: absence)
#   malformed PROOF          no proof has this wire form
`

// writeVectors makes the vectors. The trees are of names, as they are used, and
// of crowded keys, whose proofs have gaps.
func writeVectors(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(vectorsHead)
	for _, n := range []int{0, 1, 2, 3, 20} {
		var keys []key
		for i := range n {
			keys = append(keys, keyOf(fmt.Sprintf("handle/%d", i)))
		}
		vectorsOf(t, &out, fmt.Sprintf("%d names", n), keys)
	}
	crowd := []key{{}, {31: 1}, {31: 2}, {0: 0x80}, {15: 1}, {1: 0x10}, {1: 0x18}}
	vectorsOf(t, &out, "7 crowded keys", crowd)
	one, zero := strings.Repeat("01", 32), strings.Repeat("00", 32)
	for _, wire := range []string{"-", "00", "0200", "000100", "000180" + zero, "000180", "000180" + one + one,
		"00028000" + one, "0121" + strings.Repeat("80", 33) + one, "0100", "0000" + one + one} {
		fmt.Fprintf(&out, "malformed %s\n", wire)
	}
	return out.Bytes()
}

func vectorsOf(t *testing.T, out *bytes.Buffer, name string, keys []key) {
	t.Helper()
	tree := statetree.NewMem()
	fmt.Fprintf(out, "\ntree %s\n", strings.ReplaceAll(name, " ", "-"))
	set := func(k key, v []byte) {
		mustUpdate(t, tree, []statetree.Change{{Key: k, Value: v}})
		if v == nil {
			fmt.Fprintf(out, "delete %s\n", k)
		} else {
			fmt.Fprintf(out, "set %s %x\n", k, v)
		}
	}
	fmt.Fprintf(out, "root %x\n", tree.Root())
	for i, k := range keys {
		set(k, fmt.Appendf(nil, "value %d", i))
		fmt.Fprintf(out, "root %x\n", tree.Root())
	}
	if len(keys) > 2 {
		set(keys[1], nil)
		fmt.Fprintf(out, "root %x\n", tree.Root())
	}
	for i, k := range append(slices.Clone(keys), keyOf("absent"), key{31: 3}) {
		if i > 8 && i < len(keys) {
			continue
		}
		p, err := tree.Prove(k)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := tree.Get(k); v != nil {
			fmt.Fprintf(out, "value %s %x %x\n", k, v, wire)
			fmt.Fprintf(out, "refuse %s %x %x\n", k, "another", wire)
			fmt.Fprintf(out, "refuse %s - %x\n", k, wire)
		} else {
			fmt.Fprintf(out, "absent %s %x\n", k, wire)
			fmt.Fprintf(out, "refuse %s %x %x\n", k, "another", wire)
		}
	}
}

func TestVectors_AreWhatTheCodeWrites(t *testing.T) {
	want := writeVectors(t)
	if *updateVectors {
		if err := os.WriteFile(vectorsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has changed; if it had to, write it anew with -update", vectorsFile)
	}
}

// The vectors hold when they are read as a reader in another language would:
// roots against the definition of the tree, proofs by the verifier.
func TestVectors_Hold(t *testing.T) {
	file, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	m, facts := model{}, 0
	for n, line := range strings.Split(string(file), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		facts++
		f := strings.Split(line, " ")
		if err := m.fact(f[0], f[1:]); err != nil {
			t.Errorf("line %d: %v", n+1, err)
		}
	}
	if facts < 150 {
		t.Errorf("there are only %d facts", facts)
	}
}

// fact follows one line of the vectors.
func (m model) fact(kind string, words []string) error {
	if kind == "tree" {
		clear(m)
		return nil
	}
	var b [][]byte
	for _, w := range words {
		x, err := hex.DecodeString(strings.TrimSuffix(w, "-"))
		if err != nil {
			return err
		}
		b = append(b, x)
	}
	root := m.root()
	p, malformed := statetree.UnmarshalProof(b[len(b)-1])
	var err error
	switch kind {
	case "set":
		m[key(b[0])] = b[1]
	case "delete":
		delete(m, key(b[0]))
	case "root":
		if root != [32]byte(b[0]) {
			err = fmt.Errorf("the definition gives root %x", root)
		}
	case "value":
		err = statetree.Verify(root, key(b[0]), b[1], p)
	case "absent":
		err = statetree.VerifyAbsent(root, key(b[0]), p)
	case "refuse":
		if len(b[1]) == 0 && statetree.VerifyAbsent(root, key(b[0]), p) == nil ||
			len(b[1]) > 0 && statetree.Verify(root, key(b[0]), b[1], p) == nil {
			err = fmt.Errorf("it is accepted")
		}
	case "malformed":
		if malformed == nil {
			err = fmt.Errorf("it is read")
		}
		malformed = nil
	default:
		err = fmt.Errorf("%q is no fact", kind)
	}
	if err == nil && malformed != nil && (kind == "value" || kind == "absent" || kind == "refuse") {
		err = malformed
	}
	return err
}
