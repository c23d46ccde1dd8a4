package wire_test

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

func ExampleDecode() {
	type point struct {
		_    struct{} `cbor:",toarray"`
		X, Y uint64
	}
	b := wire.Encode(point{X: 1, Y: 500})
	fmt.Printf("%x\n", b)
	var p point
	fmt.Println(wire.Decode(b, &p, 16), p.X, p.Y)
	// The same value with a longer head is another encoding.
	fmt.Println(wire.Decode([]byte{0x82, 0x18, 0x01, 0x19, 0x01, 0xf4}, &p, 16))
	// Output:
	// 82011901f4
	// <nil> 1 500
	// encoding is not canonical
}
