package vectors_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/wire"
)

type colour uint8

func (c colour) String() string { return [...]string{"red", "green"}[c] }

type box struct {
	_      struct{} `cbor:",toarray"`
	Colour colour
	Name   string
	Sealed bool
	Parts  []part
	Lid    *part
	Letter []byte
	Note   wire.Raw
}

type part struct {
	_    struct{} `cbor:",toarray"`
	Size uint32
}

func sample(t *testing.T) vectors.File {
	t.Helper()
	b := wire.Encode(box{
		Colour: 1, Name: "toys", Parts: []part{{Size: 7}, {Size: 300}},
		Letter: wire.Encode(part{Size: 70000}), Note: wire.Encode(part{Size: 1}),
	})
	items, err := vectors.Annotate(b, box{}, vectors.Inside{"Letter": part{}, "Note": part{}})
	if err != nil {
		t.Fatal(err)
	}
	return vectors.File{About: "Boxes.\n\nMore of them.", Vectors: []vectors.Vector{
		{Name: "box", Fields: []vectors.Field{{"about", "one: box"}, {"expect", ""}}, Items: items, Bytes: b},
		{Name: "no-bytes", Fields: []vectors.Field{{"skeleton", "a"}}},
	}}
}

func TestAnnotate_NamesEveryItem(t *testing.T) {
	v := sample(t).Vectors[0]
	want := []string{
		"87 # box: array of 7", "01 # Colour: 1 (green)", `64746f7973 # Name: "toys"`, "f4 # Sealed: false",
		"82 # Parts: list of 2", "81 # Parts[0]: array of 1", "07 # Size: 7", "81 # Parts[1]: array of 1", "19012c # Size: 300",
		"f6 # Lid: none", "46 # Letter: 6 bytes, which hold", "81 # part: array of 1", "1a00011170 # Size: 70000",
		"81 # Note: array of 1", "01 # Size: 1",
	}
	for i, line := range v.Explain() {
		if got := strings.Join(strings.Fields(line), " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d is %q, want %q", i, got, want[min(i, len(want)-1)])
		}
	}
	if len(v.Items) != len(want) {
		t.Errorf("%d items, want %d", len(v.Items), len(want))
	}
}

func TestAnnotate_RefusesWhatDoesNotFit(t *testing.T) {
	whole := wire.Encode(part{Size: 300})
	for name, b := range map[string][]byte{
		"empty": {}, "cut": whole[:2], "trailing": append(whole, 0), "fields": {0x82, 1, 2}, "indefinite": {0x9f, 1, 0xff}, "map": {0xa0},
	} {
		if _, err := vectors.Annotate(b, part{}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParse_ReadsWhatFormatWrites(t *testing.T) {
	text := sample(t).Format()
	f, err := vectors.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Format(); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
	v, ok := f.Find("box")
	if !ok || v.Get("about") != "one: box" || v.Get("none") != "" {
		t.Errorf("box is %v", v)
	}
}

func TestParse_RefusesBytesThatAreNotThoseExplained(t *testing.T) {
	text := sample(t).Format()
	for name, bad := range map[string]string{
		"changed hex":         strings.Replace(text, "hex: 8701", "hex: 8700", 1),
		"changed explanation": strings.Replace(text, "01 ", "00 ", 1),
		"no hex digits":       strings.Replace(text, "hex: 87", "hex: x7", 1),
		"before any vector":   "name: value\n" + text,
		"no name":             text + "something\n",
	} {
		if bad == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := vectors.Parse(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCompare_TellsTheLineThatDiffers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "boxes.txt")
	f := sample(t)
	if err := vectors.Compare(path, f, false); err == nil {
		t.Error("a missing file was accepted")
	}
	if err := vectors.Compare(path, f, true); err != nil {
		t.Fatal(err)
	}
	if err := vectors.Compare(path, f, false); err != nil {
		t.Error(err)
	}
	f.Vectors[0].Fields[0].Value = "two boxes"
	if err := vectors.Compare(path, f, false); err == nil || !strings.Contains(err.Error(), "line 6") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("# a\n\nvector: x\nk: v\n  01       # one\nhex: 01\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := vectors.Parse(text)
		if err != nil {
			return
		}
		again, err := vectors.Parse(file.Format())
		if err != nil || again.Format() != file.Format() {
			t.Errorf("not stable: %v", err)
		}
	})
}
