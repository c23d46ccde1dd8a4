package frame_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
)

// numbers are those at which the size of a number's encoding changes.
func numbers() []uint64 {
	return []uint64{0, 1, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64}
}

// hot returns frames of all kinds that are done by hand, at the edges of their
// numbers and lengths.
func hot() (all []frame.Frame) {
	id, m := stream.ID{1, 31: 2}, stream.MessageID{3, 15: 4}
	for _, n := range numbers() {
		head := stream.Head{Seq: n, Hash: [32]byte{5, 31: 6}}
		all = append(all,
			&frame.Append{Request: n, Stream: id, Message: m, Body: []byte("x")},
			&frame.Append{Request: 1, Stream: id, Message: m, Expect: []stream.Head{head}, Body: []byte("x")},
			&frame.Acknowledge{Request: n, Stream: id, Seq: ^n},
			&frame.Done{Request: n, Seq: ^n, Again: n%2 == 0},
			&frame.Page{Request: n, Head: n}, &frame.Pushed{Stream: id, From: n, After: n, Head: n},
		)
	}
	for _, size := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		body := make([]byte, size)
		entries := []frame.Entry{{Message: m, Body: body}, {}, {Message: m, Body: body[:size/2]}}
		all = append(all,
			&frame.Append{Stream: id, Body: body},
			&frame.Page{Head: 5, Entries: entries}, &frame.Pushed{Stream: id, From: 1, After: 2, Head: 5, Entries: entries},
		)
	}
	for _, n := range []int{22, 23, 24, 255, 256, 5000} {
		all = append(all, &frame.Page{Head: 1 << 20, Entries: make([]frame.Entry, n)})
	}
	return all
}

func TestHot_BytesAreThoseOfPackageWire(t *testing.T) {
	for _, f := range hot() {
		b := frame.Encode(f)
		if want := frame.EncodeAny(f); !bytes.Equal(b, want) {
			t.Errorf("%T: %.80x, want %.80x", f, b, want)
			continue
		}
		same(t, b)
	}
}

// same holds Decode to what package wire makes of the same bytes.
func same(t *testing.T, b []byte) {
	t.Helper()
	got, err := frame.Decode(b)
	want, wantErr := frame.DecodeAny(b)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%.80x: %v, package wire says %v", b, err, wantErr)
	}
	if err == nil && (reflect.TypeOf(got) != reflect.TypeOf(want) || !bytes.Equal(frame.EncodeAny(got), frame.EncodeAny(want))) {
		t.Fatalf("%.80x: %+v, package wire says %+v", b, got, want)
	}
}

// Whatever is changed, left out or put in, both decoders agree.
func TestHot_RefusesWhatPackageWireRefuses(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for _, f := range hot() {
		b := frame.Encode(f)
		if len(b) > 2000 {
			continue
		}
		for at := range b {
			same(t, b[:at+1])
			for _, v := range []byte{b[at] + 1, b[at] ^ 0x20, b[at] ^ 0x80, byte(random.Uint32()), 0x1f, 0x5f, 0x9f, 0xf6, 0xff} {
				changed := bytes.Clone(b)
				changed[at] = v
				same(t, changed)
				longer := append(append(bytes.Clone(b[:at]), v), b[at:]...)
				same(t, longer)
				if _, err := frame.Decode(longer); err != nil {
					refused++
				}
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// A count that claims more than there is costs no memory.
func TestHot_ClaimedEntriesCostNothing(t *testing.T) {
	b := append(frame.Encode(&frame.Page{Head: 9})[:5], 0x19, 0x15, 0x00) // 5376 entries
	allocated := testing.AllocsPerRun(100, func() {
		if _, err := frame.Decode(b); err == nil {
			t.Fatal("entries that are not there were decoded")
		}
	})
	if allocated > 12 {
		t.Errorf("%.0f allocations", allocated)
	}
}

// A frame that was decoded does not change with the buffer that it came in.
func TestHot_SharesNoMemoryWithWhatItCameIn(t *testing.T) {
	for _, f := range []frame.Frame{
		&frame.Append{Body: []byte("body")},
		&frame.Page{Head: 1, Entries: []frame.Entry{{Body: []byte("body")}}},
		&frame.Pushed{Head: 1, Entries: []frame.Entry{{Body: []byte("body")}}},
	} {
		b := frame.Encode(f)
		got, err := frame.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(b)
		clear(b)
		if again := frame.Encode(got); !bytes.Equal(again, want) {
			t.Errorf("%T has changed: %x", f, again)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	body := make([]byte, 512)
	f := &frame.Append{Request: 1000, Body: body}
	page := &frame.Pushed{Head: 1000, Entries: make([]frame.Entry, 200)}
	for i := range page.Entries {
		page.Entries[i].Body = body
	}
	for name, f := range map[string]frame.Frame{"append": f, "page of 200": page} {
		for codec, do := range map[string]func([]byte) (frame.Frame, error){"by hand": frame.Decode, "package wire": frame.DecodeAny} {
			b.Run(name+"/"+codec, func(b *testing.B) {
				in := frame.Encode(f)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := do(in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
