package ticket_test

import (
	"context"
	"fmt"

	"github.com/confab-chat/confab/namesvc/ticket"
)

func ExampleSolve() {
	commit, checkpoint := [32]byte{1}, [32]byte{2}
	challenge := ticket.Challenge("confab", commit, checkpoint)
	nonce, err := ticket.Solve(context.Background(), challenge, 4, 8, 0, 1, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(ticket.Bits(challenge, nonce, 8) >= 4)
	// Output: true
}
