package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
)

// shape has a field of every kind that our formats use.
type shape struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Small  uint8
	Signed int64
	Text   string
	Bytes  []byte
	Hash   [4]byte
	List   []uint16
	Inner  *inner
	Yes    bool
	Later  wire.Raw
}

type inner struct {
	_ struct{} `cbor:",toarray"`
	A uint32
}

func sample() shape {
	return shape{
		Number: 1 << 40, Small: 200, Signed: -5, Text: "text", Bytes: []byte{1, 2}, Hash: [4]byte{1, 2, 3, 4},
		List: []uint16{1, 500}, Inner: &inner{A: 7}, Yes: true, Later: wire.Raw{0x05},
	}
}

func TestDecode_ReadsWhatEncodeWrites(t *testing.T) {
	for name, v := range map[string]shape{"full": sample(), "empty": {Later: wire.Raw{0xf6}}} {
		b := wire.Encode(v)
		var got shape
		if err := wire.Decode(b, &got, len(b)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(wire.Encode(got), b) {
			t.Errorf("%s: another encoding", name)
		}
	}
}

// TestEncode_NilAndEmptyAreOne: a nil slice and an empty one are the same value
// to us and must have the same hash.
func TestEncode_NilAndEmptyAreOne(t *testing.T) {
	a := wire.Encode(shape{Later: wire.Raw{0xf6}})
	b := wire.Encode(shape{Bytes: []byte{}, List: []uint16{}, Later: wire.Raw{0xf6}})
	if !bytes.Equal(a, b) {
		t.Errorf("%x and %x", a, b)
	}
}

func TestDecode_RefusesOversize(t *testing.T) {
	b := wire.Encode(sample())
	var v shape
	if err := wire.Decode(b, &v, len(b)-1); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

// TestDecode_RefusesEveryOtherFormOfAValue feeds encodings that lenient decoders
// take for the same value.
func TestDecode_RefusesEveryOtherFormOfAValue(t *testing.T) {
	for _, c := range []struct{ name, into, hex string }{
		{"long zero", "number", "1800"}, {"long one", "number", "190001"}, {"long 64", "number", "1b0000000000000001"},
		{"float", "number", "f93c00"}, {"negative", "number", "20"}, {"text number", "number", "6131"}, {"bool number", "number", "f5"},
		{"null number", "number", "f6"}, {"undefined", "number", "f7"}, {"simple value", "number", "e5"}, {"long simple value", "number", "f820"},
		{"tagged number", "number", "c001"}, {"bignum", "number", "c24101"}, {"epoch time", "number", "c11a00000001"},
		{"trailing", "number", "0100"}, {"empty", "number", ""}, {"one too long", "number", "1817"},
		{"too large for its field", "small", "190100"},
		{"text as bytes", "bytes", "6161"}, {"long head", "bytes", "5800"}, {"chunks", "bytes", "5f4101ff"}, {"list as bytes", "bytes", "8101"},
		{"null bytes", "bytes", "f6"}, {"cut", "bytes", "4201"}, {"base64", "bytes", "d6644d546f3d"},
		{"bad utf-8", "text", "61ff"}, {"surrogate", "text", "63eda080"}, {"overlong", "text", "62c080"}, {"bytes as text", "text", "4161"},
		{"chunked text", "text", "7f6161ff"},
		{"short hash", "hash", "43010203"}, {"long hash", "hash", "450102030405"}, {"list hash", "hash", "8401020304"}, {"null hash", "hash", "f6"},
		{"open list", "list", "9f01ff"}, {"long list head", "list", "980101"}, {"null list", "list", "f6"}, {"map as list", "list", "a10001"},
		{"list with long item", "list", "811801"},
		{"missing field", "inner", "80"}, {"extra field", "inner", "820101"}, {"map with name", "inner", "a1614101"}, {"map with key", "inner", "a10001"},
		{"undefined struct", "inner", "f7"}, {"number for a struct", "inner", "01"},
		{"number for a bool", "bool", "01"}, {"null bool", "bool", "f6"},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		into := map[string]any{
			"number": new(uint64), "small": new(uint8), "bytes": new([]byte), "text": new(string), "hash": new([4]byte),
			"list": new([]uint16), "inner": new(*inner), "bool": new(bool),
		}[c.into]
		if err := wire.Decode(b, into, 64); err == nil {
			t.Errorf("%s: %s is accepted", c.name, c.hex)
		}
	}
}

// TestDecode_BoundsWhatASmallInputCosts feeds heads that promise much.
func TestDecode_BoundsWhatASmallInputCosts(t *testing.T) {
	deep := bytes.Repeat([]byte{0x81}, 4000)
	for name, b := range map[string][]byte{
		"list of 2^32": {0x9a, 0xff, 0xff, 0xff, 0xff, 0}, "list of 2^62": {0x9b, 0x40, 0, 0, 0, 0, 0, 0, 0, 0},
		"bytes of 2^62": {0x5b, 0x40, 0, 0, 0, 0, 0, 0, 0}, "text of 2^31": {0x7a, 0x80, 0, 0, 0, 'a'}, "map of 2^32": {0xba, 0xff, 0xff, 0xff, 0xff},
		"deep": deep, "many": append([]byte{0x99, 0x40, 0x01}, make([]byte, 0x4001)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var list []uint64
		var any wire.Raw
		errList := wire.Decode(b, &list, 1<<20)
		errAny := wire.Decode(b, &any, 1<<20)
		runtime.ReadMemStats(&after)
		if errList == nil || errAny == nil {
			t.Errorf("%s: accepted: %v, %v", name, errList, errAny)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
			t.Errorf("%s: %d bytes of input cost %d bytes of memory", name, len(b), grown)
		}
	}
}

func TestEncode_PanicsOnlyOnTypesThatCannotBeEncoded(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "cannot be encoded") {
			t.Errorf("got %v", r)
		}
	}()
	wire.Encode(make(chan int))
}

func FuzzDecode(f *testing.F) {
	f.Add(wire.Encode(sample()))
	f.Add(wire.Encode(shape{Later: wire.Raw{0xf6}}))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		var v shape
		if wire.Decode(b, &v, 4096) == nil && !bytes.Equal(wire.Encode(v), b) {
			t.Errorf("%x does not encode back", b)
		}
		var list [][]byte
		if wire.Decode(b, &list, 4096) == nil && !bytes.Equal(wire.Encode(list), b) {
			t.Errorf("%x does not encode back", b)
		}
	})
}
