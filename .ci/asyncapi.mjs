// Whether an AsyncAPI document is one: node asyncapi.mjs DIRECTORY-OF-THE-PARSER FILE. Says what is wrong and ends with 1.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [directory, file] = process.argv.slice(2);
const { Parser } = createRequire(`${directory}/package.json`)('@asyncapi/parser');
const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
// Severity 0 is an error, 1 a warning. That 3.1 is out is neither.
const wrong = diagnostics.filter(({ severity }) => severity < 2);
for (const { path, message } of wrong) console.error(`${file}: ${path.join('.')}: ${message}`);
if (!document || wrong.length > 0) process.exit(1);
console.log(`${file}: OK`);
