"""Build the firmware for this computer."""

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
env.Replace(CC="cc", LINK="cc", PROGSUFFIX="")
program = env.BuildProgram()
AlwaysBuild(env.Alias("buildprog", program, program))
Default(program)
# Quoted, because SCons takes a lone $SOURCE for the name of an action.
env.AddTarget("exec", program, env.VerboseAction('"$SOURCE"', "Running $SOURCE"), "Run", "Run it on this terminal")
