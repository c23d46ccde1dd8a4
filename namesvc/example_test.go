package namesvc_test

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc"
)

func ExampleParseHandle() {
	h, err := namesvc.ParseHandle("@Alice_Smith")
	fmt.Println(h, err)
	_, err = namesvc.ParseHandle("al ice")
	fmt.Println(err)
	// Output:
	// @alice_smith <nil>
	// "al ice" is not a handle: only the letters a to z, digits and _ are allowed
}

func ExampleHandle_Confusable() {
	fmt.Println(namesvc.Handle("modern").Confusable("modem"))
	fmt.Println(namesvc.Handle("modern").Confusable("modest"))
	// Output:
	// true
	// false
}

// A name service's answer is a leaf and an entry, both proven. What they mean
// depends on the time.
func ExampleInterpret() {
	leaf := namesvc.HandleLeaf{Version: 1, Generation: 1, Handle: "alice"}
	entry := namesvc.Entry{Handles: []namesvc.Lease{{Handle: "alice", Generation: 1}}, Expires: 1000, Lapses: 2000}
	for _, now := range []uint64{500, 1500, 2500} {
		m, err := namesvc.Interpret("alice", &leaf, &entry, now)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(m.Handle, m.Status)
	}
	_, err := namesvc.Interpret("a1ice", &leaf, &entry, 500)
	fmt.Println(err)
	// Output:
	// @alice active
	// @alice dormant
	// @alice is retired: its last owner gave it up or let it lapse
	// @a1ice is not registered, and nobody can register it because it looks like @alice; did you mean @alice?
}
