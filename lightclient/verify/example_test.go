package verify_test

import (
	"fmt"
	"testing"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// A client starts from a pin, gets bytes from a stranger and ends with a header
// it can believe.
func ExampleAdvance() {
	set := equalSet(new(testing.T), 0, 4) // in reality: from the stranger as well
	first, later := head(1, set, set), head(1000, set, set)
	pin := verify.Pin{ChainID: fixtureChain, Height: 1, Hash: first.Header.Hash()}
	fromStranger := wire.Encode(later.Trim(set.Validators))

	trusted, err := pin.Trust(first, set.Validators)
	if err != nil {
		fmt.Println(err)
		return
	}
	var h verify.Head
	if err := wire.Decode(fromStranger, &h, verify.MaxHeadSize); err != nil {
		fmt.Println(err)
		return
	}
	trusted, err = verify.Advance(trusted, h, set.Validators, at(1000), verify.DefaultRules())
	fmt.Println(trusted.ChainID, trusted.Height, err)

	h.Header.AppHash[0] ^= 1 // a lie about the state
	_, err = verify.Advance(trusted, h, set.Validators, at(1000), verify.DefaultRules())
	fmt.Println(err)
	// Output:
	// confab-test-1 1000 <nil>
	// advance confab-test-1 from height 1000 to 1000: vote 0: wrong signature
}
