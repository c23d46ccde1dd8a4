package message_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

var update = flag.Bool("update", false, "rewrite vectors")

const (
	vectorsDir = "../../docs/vectors"
	specFile   = "../../docs/SPEC-messages.md"
)

// envelope is unexported in the package; its shape is part of the specification.
type envelope struct {
	_            struct{} `cbor:",toarray"`
	Version      uint8
	Conversation message.ConversationID
	Author       message.Author
	Seq          uint64
	Prev         []byte
	Clock        uint64
	Time         uint64
	Kind         message.Kind
	Body         []byte
}

// extension is the body of later kinds as it is encoded.
type extension struct {
	_     struct{} `cbor:",toarray"`
	Shown string
	Data  []byte
}

// shape returns the type whose encoding the body's is.
func shape(b message.Body) any {
	if _, ok := b.(message.Extension); ok {
		return extension{}
	}
	return b
}

func TestVectors_Events(t *testing.T) {
	f := vectors.File{About: "An event of every kind. Its id is the SHA-256 of its bytes."}
	for _, body := range bodies() {
		e := event(t, body)
		items, err := vectors.Annotate(e.Bytes(), envelope{}, vectors.Inside{"Body": shape(body)})
		if err != nil {
			t.Fatalf("%v: %v", body.Kind(), err)
		}
		f.Vectors = append(f.Vectors, vectors.Vector{Name: body.Kind().String(), Fields: []vectors.Field{
			{Name: "id", Value: e.ID().String()}, {Name: "padded", Value: fmt.Sprint(message.PaddedSize(len(e.Bytes())))},
		}, Items: items, Bytes: e.Bytes()})
	}
	compare(t, "message_events.txt", f)
	read, err := vectors.Read(filepath.Join(vectorsDir, "message_events.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range read.Vectors {
		if e, err := message.Decode(v.Bytes); err != nil || e.ID().String() != v.Get("id") {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestVectors_InvalidEvents(t *testing.T) {
	f := vectors.File{About: "Events that must be refused."}
	add := func(name string, b []byte) {
		if _, err := message.Decode(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
		f.Vectors = append(f.Vectors, vectors.Vector{Name: strings.ReplaceAll(name, " ", "-"), Fields: []vectors.Field{{Name: "expect", Value: "refused"}}, Bytes: b})
	}
	cases := bad()
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		body := cases[name]
		b := wire.Encode(body)
		if x, ok := body.(message.Extension); ok {
			b = wire.Encode(extension{Shown: x.Shown, Data: x.Data})
		}
		if len(b) > 2048 {
			continue // what is too long is said in the specification
		}
		p := place(body.Kind())
		w := envelope{Version: 1, Conversation: room(), Author: author(0xa1, 1), Seq: p.Seq, Clock: p.Clock, Time: 1, Kind: body.Kind(), Body: b}
		if p.Seq > 0 {
			w.Prev = p.Prev[:]
		}
		add(name, wire.Encode(w))
	}
	text := func(change func(*envelope)) []byte {
		prev := id(7)
		w := envelope{Version: 1, Conversation: room(), Author: author(0xa1, 1), Seq: 2, Prev: prev[:], Clock: 40, Time: 1, Kind: message.KindText, Body: wire.Encode(message.Text{Text: "a"})}
		change(&w)
		return wire.Encode(w)
	}
	add("version 2", text(func(w *envelope) { w.Version = 2 }))
	add("kind 0", text(func(w *envelope) { w.Kind = 0 }))
	add("kind 63", text(func(w *envelope) { w.Kind = 63 }))
	add("body of another kind", text(func(w *envelope) { w.Kind = message.KindReply }))
	add("body with a byte more", text(func(w *envelope) { w.Body = append(w.Body, 0) }))
	add("extension without its form", text(func(w *envelope) { w.Kind = 64 }))
	add("short hash", text(func(w *envelope) { w.Prev = w.Prev[:31] }))
	add("hash of zeros", text(func(w *envelope) { w.Prev = make([]byte, 32) }))
	add("year 10000", text(func(w *envelope) { w.Time = 253_402_300_800_000 }))
	compare(t, "message_invalid.txt", f)
}

func TestVectors_Chain(t *testing.T) {
	s := newScene(t)
	alice, bob := author(0xa1, 1), author(0xb0, 1)
	s.say(alice, message.Text{Text: "one"})
	s.say(alice, message.Text{Text: "two"})
	s.say(bob, message.Reply{To: s.all[1].ID(), Text: "three"})
	s.say(alice, message.Edit{To: s.all[0].ID(), Text: "One"})
	f := vectors.File{About: "A conversation of two authors, in the order of its clock. shown is what stands there\nafter all of it, one line an event."}
	for i, e := range s.all {
		f.Vectors = append(f.Vectors, vectors.Vector{Name: fmt.Sprint("event-", i+1), Fields: []vectors.Field{
			{Name: "id", Value: e.ID().String()}, {Name: "seq", Value: fmt.Sprint(e.Seq)}, {Name: "clock", Value: fmt.Sprint(e.Clock)},
		}, Bytes: e.Bytes()})
	}
	end := vectors.Vector{Name: "shown"}
	for _, v := range shown(t, s.all) {
		end.Fields = append(end.Fields, vectors.Field{Name: "text", Value: fmt.Sprintf("%q", v.Text)})
	}
	f.Vectors = append(f.Vectors, end)
	compare(t, "message_chain.txt", f)
}

func TestVectors_Padding(t *testing.T) {
	f := vectors.File{About: "Sizes of content and of its padded form, in bytes, and one whole form."}
	for _, n := range []int{0, 1, 508, 509, 1020, 1021, 2044, 2045, 2172, 2173, 4092, 4093, 10_000, 16_380, 16_381, 49_152} {
		f.Vectors = append(f.Vectors, vectors.Vector{Name: fmt.Sprint("size-", n), Fields: []vectors.Field{{Name: "padded", Value: fmt.Sprint(message.PaddedSize(n))}}})
	}
	p, err := message.Pad([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	f.Vectors = append(f.Vectors, vectors.Vector{Name: "whole", Fields: []vectors.Field{{Name: "content", Value: "content"}}, Bytes: p})
	compare(t, "message_padding.txt", f)
}

func compare(t *testing.T, name string, f vectors.File) {
	t.Helper()
	if err := vectors.Compare(filepath.Join(vectorsDir, name), f, *update); err != nil {
		t.Error(err)
	}
}

func readSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSpec_ExamplesAreFromTheVectors compares every line of each example with
// the vector that it names.
func TestSpec_ExamplesAreFromTheVectors(t *testing.T) {
	text := readSpec(t)
	if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, "# ") || !strings.Contains(first, "version 1") || strings.Count(text, "\n") > 400 {
		t.Errorf("the first line is %q, and there are %d", first, strings.Count(text, "\n"))
	}
	n, faults := vectors.CheckExamples(vectorsDir, text)
	if n < 3 {
		t.Errorf("only %d examples", n)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// TestSpec_HasEveryKindAndBound compares the tables with the code.
func TestSpec_HasEveryKindAndBound(t *testing.T) {
	text := readSpec(t)
	for _, body := range bodies()[:13] {
		k := body.Kind()
		if !strings.Contains(text, fmt.Sprintf("\n| %d %v |", uint16(k), k)) {
			t.Errorf("the table of kinds lacks %d %v", uint16(k), k)
		}
	}
	for name, n := range map[string]int{
		"event": message.MaxEvent, "text": message.MaxText, "thumbnail": message.MaxThumbnail, "name": message.MaxLine, "file name": message.MaxFileName,
		"about, greeting": message.MaxAbout, "media type": message.MaxMediaType, "reaction": message.MaxEmoji, "reach": message.MaxReach,
		"authors in a receipt": message.MaxReceipts, "ranges in a request": message.MaxRanges, "events in a range": message.MaxResend,
		"seconds of typing": message.MaxTyping, "reactions shown of one person": message.MaxReactions, "links that wait": message.MaxWaiting,
		"numbers ahead": message.MaxAhead, "clock's step": message.MaxClockStep,
	} {
		if !strings.Contains(text, fmt.Sprintf("| %s | %d |", name, n)) {
			t.Errorf("the table of bounds lacks %s: %d", name, n)
		}
	}
}
