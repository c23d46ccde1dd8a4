package key_test

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

func ExampleVerify() {
	root := key.RootFromSeed([key.SeedSize]byte{1, 2, 3})
	sig := root.SignOp([]byte("payload"))
	fmt.Println(key.Verify(root.Public(), wire.TagOp, []byte("payload"), sig))
	fmt.Println(key.Verify(root.Public(), wire.TagDevice, []byte("payload"), sig))
	fmt.Println(root)
	// Output:
	// <nil>
	// signature does not verify
	// (private key)
}

func ExampleParsePhrase() {
	_, err := key.ParsePhrase("abandon abandon about")
	fmt.Println(err)
	p, err := key.ParsePhrase("Abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about")
	fmt.Println(p, err)
	// Output:
	// not a valid phrase: it has 3 words, a phrase has 12
	// (phrase) <nil>
}
