// Loads a compose file as `docker compose` does, with the loader that it is built on: schema, interpolation, merging, consistency.
//
//	compose FILE[,OVERRIDE...] [PROFILE...]
//
// Variables are taken from the environment alone. Prints the project as JSON; exit code 1 and the reason when it is refused.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	environment := types.Mapping{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	files := strings.Split(os.Args[1], ",")
	details := types.ConfigDetails{
		WorkingDir:  filepath.Dir(files[0]),
		ConfigFiles: types.ToConfigFiles(files),
		Environment: environment,
	}
	project, err := loader.LoadWithContext(context.Background(), details, loader.WithProfiles(os.Args[2:]))
	if err == nil {
		var text []byte
		if text, err = json.Marshal(project); err == nil {
			fmt.Println(string(text))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
