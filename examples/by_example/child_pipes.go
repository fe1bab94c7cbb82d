package main

import (
	"bufio"
	"fmt"
	"os/exec"
)

func main() {
	cmd := exec.Command("tr", "a-z", "A-Z")
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	cmd.Start()
	fmt.Fprint(stdin, "park\nhand off\n")
	stdin.Close()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Println(lines.Text())
	}
	cmd.Wait()
	fmt.Println("status", cmd.ProcessState.ExitCode())
}
