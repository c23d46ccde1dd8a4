package media_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/media"
	"github.com/confab-chat/confab/talk/message"
)

var update = commandtest.UpdateFlag()

// plain is how much content one chunk holds.
const plain = chunk.Size - 16

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*13 + i>>12)
	}
	return b
}

// zeros is randomness that a test can repeat.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// seal seals b and returns the reference, the sealed form and its leaves.
func seal(t *testing.T, b []byte) (message.Ref, []byte, []byte) {
	t.Helper()
	s, err := media.Seal(bytes.NewReader(b), uint64(len(b)), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sealed := make([]byte, s.Size())
	if _, err := s.ReadAt(sealed, 0); err != nil {
		t.Fatal(err)
	}
	if want, err := media.SealedSize(uint64(len(b))); err != nil || want != s.Size() {
		t.Fatalf("%d bytes seal to %d, and SealedSize says %d: %v", len(b), s.Size(), want, err)
	}
	ref := s.Ref("image/png")
	return ref, sealed, leavesOf(t, sealed, ref.Root)
}

func leavesOf(t *testing.T, sealed []byte, want chunk.ID) []byte {
	t.Helper()
	var tree chunk.Tree
	tree.Write(sealed)
	id, leaves, err := tree.Sum()
	if err != nil || id != want {
		t.Fatalf("the sealed form has the id %v, and the reference %v: %v", id, want, err)
	}
	return leaves
}

func TestSeal_OpensAgainAtAllSizes(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 4097, plain - 1, plain, plain + 1, 2 * plain, 3*plain + 17, 1 << 20} {
		b := content(n)
		ref, sealed, leaves := seal(t, b)
		f, err := media.Open(ref, leaves)
		if err != nil {
			t.Fatal(n, err)
		}
		var out bytes.Buffer
		if err := f.Copy(&out, iotest.HalfReader(bytes.NewReader(sealed))); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Errorf("%d bytes: %d come back: %v", n, out.Len(), err)
		}
		if bytes.Contains(sealed, b[:min(n, 64)]) && n >= 16 {
			t.Errorf("%d bytes: the sealed form shows content", n)
		}
		if n <= 4097 { // it reads byte by byte
			if err := iotest.TestReader(f.Content(bytes.NewReader(sealed)), b); err != nil {
				t.Errorf("%d bytes: content in pieces: %v", n, err)
			}
		}
		got, err := io.ReadAll(f.Content(bytes.NewReader(sealed)))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes: %d come back as a reader at any place: %v", n, len(got), err)
		}
	}
}

// A reader may begin anywhere, and asks for no chunk that it does not need.
func TestFile_ReadsTheMiddleFromItsChunkAlone(t *testing.T) {
	b := content(5 * plain)
	ref, sealed, leaves := seal(t, b)
	f, err := media.Open(ref, leaves)
	if err != nil {
		t.Fatal(err)
	}
	var asked []int64
	p := make([]byte, 100)
	_, err = f.Content(spy{bytes.NewReader(sealed), &asked}).ReadAt(p, 2*plain-50)
	if err != nil || !bytes.Equal(p, b[2*plain-50:][:100]) {
		t.Fatalf("%v", err)
	}
	if fmt.Sprint(asked) != fmt.Sprint([]int64{chunk.Size, 2 * chunk.Size}) {
		t.Errorf("asked for the chunks at %v", asked)
	}
}

type spy struct {
	io.ReaderAt
	asked *[]int64
}

func (s spy) ReadAt(p []byte, off int64) (int, error) {
	*s.asked = append(*s.asked, off)
	return s.ReaderAt.ReadAt(p, off)
}

func TestFile_RefusesWhatWasChanged(t *testing.T) {
	b := content(3*plain + 17)
	ref, sealed, leaves := seal(t, b)
	f, err := media.Open(ref, leaves)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		return c
	}
	swap := append(bytes.Clone(sealed[chunk.Size:2*chunk.Size]), sealed[:chunk.Size]...)
	for name, wrong := range map[string]struct {
		sealed []byte
		right  int // bytes that come out before
		kind   wire.Code
	}{
		"a bit at the beginning": {flip(0), 0, wire.Invalid}, "a bit in the second chunk": {flip(chunk.Size + 9), plain, wire.Invalid},
		"the last bit": {flip(len(sealed) - 1), 3 * plain, wire.Invalid}, "chunks in another order": {append(swap, sealed[2*chunk.Size:]...), 0, wire.Invalid},
		"cut at a chunk": {sealed[:2*chunk.Size], 2 * plain, wire.Unavailable}, "cut within a chunk": {sealed[:chunk.Size+5], plain, wire.Unavailable}, "nothing": {nil, 0, wire.Unavailable},
	} {
		var out bytes.Buffer
		if err := f.Copy(&out, bytes.NewReader(wrong.sealed)); wire.CodeOf(err) != wrong.kind {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(out.Bytes(), b[:wrong.right]) {
			t.Errorf("%s: %d bytes came out", name, out.Len())
		}
	}
}

func TestOpen_RefusesReferencesThatDoNotFit(t *testing.T) {
	ref, sealed, leaves := seal(t, content(plain+9000))
	for name, change := range map[string]func(*message.Ref){
		"another size class": func(r *message.Ref) { r.Size = 10 }, "a size without end": func(r *message.Ref) { r.Size = 1<<64 - 1 },
		"another root": func(r *message.Ref) { r.Root[0] ^= 1 },
	} {
		r := ref
		change(&r)
		if _, err := media.Open(r, leaves); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := media.Open(ref, leaves[1:]); wire.CodeOf(err) != wire.Invalid {
		t.Error("leaves that do not fit were taken")
	}
	wrongKey := ref
	wrongKey.Key[5] ^= 1
	f, err := media.Open(wrongKey, leaves)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Copy(io.Discard, bytes.NewReader(sealed)); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("another key: %v", err)
	}
	// A sender who says that the file is shorter than it is hides the rest in what
	// should be padding.
	shorter := ref
	shorter.Size--
	f, err = media.Open(shorter, leaves)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Copy(io.Discard, bytes.NewReader(sealed)); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("padding that is content: %v", err)
	}
}

// changing is a source whose owner goes on writing to it.
type changing struct{ b []byte }

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(c.b).ReadAt(p, off)
}

// Two contents under one key and nonce would show both, so nothing of the second
// may ever come out.
func TestSealed_GivesOutNothingOfASourceThatChanged(t *testing.T) {
	b := content(3 * plain)
	source := &changing{bytes.Clone(b)}
	s, err := media.Seal(source, uint64(len(b)), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 100)
	if _, err := s.ReadAt(first, 0); err != nil {
		t.Fatal(err)
	}
	source.b[plain+1] ^= 1
	p := make([]byte, chunk.Size)
	n, err := s.ReadAt(p, chunk.Size)
	if wire.CodeOf(err) != wire.Conflict || n != 0 || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("%d bytes of the changed chunk came out: %v", n, err)
	}
	if _, err := media.Again(source, s.Ref("a/b")); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("it was sealed again under the same key: %v", err)
	}
	if _, err := s.ReadAt(p, 2*chunk.Size); err != nil {
		t.Errorf("what stayed: %v", err)
	}
	source.b = b[:plain]
	if _, err := s.ReadAt(p, chunk.Size); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a source that was cut: %v", err)
	}
	source.b = b
	again, err := media.Again(source, s.Ref("a/b"))
	if err != nil || again.ID() != s.ID() {
		t.Fatalf("the same content again: %v", err)
	}
	second := make([]byte, 100)
	if _, err := again.ReadAt(second, 0); err != nil || !bytes.Equal(first, second) {
		t.Errorf("sealed again it is another: %v", err)
	}
}

func TestSeal_RefusesWhatIsTooLargeAndSourcesThatFail(t *testing.T) {
	for _, size := range []uint64{chunk.MaxLength, chunk.MaxLength + 1, 1 << 40, 1<<64 - 1} {
		if _, err := media.Seal(bytes.NewReader(nil), size, rand.Reader); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := media.Seal(bytes.NewReader(content(10)), 11, rand.Reader); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a source that is too short: %v", err)
	}
	if _, err := media.Seal(bytes.NewReader(nil), 0, iotest.ErrReader(errors.New("x"))); err == nil {
		t.Error("sealed without randomness")
	}
}

// What a concierge sees of a file is one of few sizes.
func TestSealedSize_TellsLittle(t *testing.T) {
	sizes := map[uint64]bool{}
	for n := uint64(1); n < 1<<24; n += 97 {
		s, err := media.SealedSize(n)
		if err != nil || s < n {
			t.Fatal(n, s, err)
		}
		if n > 1<<20 && float64(s) > 1.13*float64(n) {
			t.Fatalf("%d bytes seal to %d", n, s)
		}
		sizes[s] = true
	}
	if len(sizes) > 330 {
		t.Errorf("%d sizes tell files up to 16 MiB apart", len(sizes))
	}
}

// TestVectors: files in docs/vectors, rewritten with -update.
func TestVectors(t *testing.T) {
	f := vectors.File{About: "Sealed files: the key is 32 zero bytes, byte i of the content is i*13 + (i>>12) modulo 256.\nThe bytes are the first and last 24 of the sealed form."}
	for _, n := range []int{0, 1, 5000, plain, 2*plain + 1, 1 << 20} {
		s, err := media.Seal(bytes.NewReader(content(n)), uint64(n), zeros{})
		if err != nil {
			t.Fatal(err)
		}
		ends := make([]byte, 48)
		if _, err := s.ReadAt(ends[:24], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadAt(ends[24:], int64(s.Size())-24); err != nil {
			t.Fatal(err)
		}
		f.Vectors = append(f.Vectors, vectors.Vector{
			Name: fmt.Sprintf("file-%d", n), Bytes: ends,
			Fields: []vectors.Field{{Name: "size", Value: fmt.Sprint(n)}, {Name: "sealed", Value: fmt.Sprint(s.Size())}, {Name: "id", Value: s.ID().String()}},
		})
	}
	if err := vectors.Compare(filepath.Join("..", "..", "docs", "vectors", "media.txt"), f, *update); err != nil {
		t.Error(err)
	}
}

// TestSpec_ExamplesAreFromTheVectors compares the examples in the specification of
// who keeps the files.
func TestSpec_ExamplesAreFromTheVectors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "SPEC-concierge.md"))
	if err != nil {
		t.Fatal(err)
	}
	n, faults := vectors.CheckExamples(filepath.Join("..", "..", "docs", "vectors"), string(text))
	if n == 0 {
		t.Error("there are no examples")
	}
	for _, f := range faults {
		t.Error(f)
	}
	for name, n := range map[string]int{"content of a chunk": 65520, "least size": 4096} {
		digits := strconv.Itoa(n)
		if !strings.Contains(strings.ReplaceAll(string(text), ",", ""), digits) {
			t.Errorf("the specification does not say the %s, %d", name, n)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	c := content(8 << 20)
	b.SetBytes(int64(len(c)))
	for b.Loop() {
		s, err := media.Seal(bytes.NewReader(c), uint64(len(c)), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, io.NewSectionReader(s, 0, int64(s.Size()))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	c := content(8 << 20)
	s, err := media.Seal(bytes.NewReader(c), uint64(len(c)), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sealed := make([]byte, s.Size())
	s.ReadAt(sealed, 0)
	var tree chunk.Tree
	tree.Write(sealed)
	_, leaves, _ := tree.Sum()
	b.SetBytes(int64(len(c)))
	for b.Loop() {
		f, err := media.Open(s.Ref("a/b"), leaves)
		if err == nil {
			err = f.Copy(io.Discard, bytes.NewReader(sealed))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := content(5000)
	s, err := media.Seal(bytes.NewReader(b), uint64(len(b)), zeros{})
	if err != nil {
		f.Fatal(err)
	}
	sealed := make([]byte, s.Size())
	s.ReadAt(sealed, 0)
	f.Add(sealed, uint64(5000))
	f.Add([]byte{1}, uint64(0))
	f.Fuzz(func(t *testing.T, sealed []byte, size uint64) {
		var tree chunk.Tree
		tree.Write(sealed)
		id, leaves, err := tree.Sum()
		if err != nil {
			return
		}
		file, err := media.Open(message.Ref{Root: id, Size: size}, leaves)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := file.Copy(&out, bytes.NewReader(sealed)); err == nil && !(id == s.ID() && bytes.Equal(out.Bytes(), b)) {
			t.Errorf("%d bytes opened that nobody sealed", out.Len())
		}
	})
}
