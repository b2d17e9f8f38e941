/** Says in the page's title how it went. */
export async function says(run) {
  try {
    document.title = `ok ${await run()}`;
  } catch (error) {
    document.title = `failed: ${error.code} ${error.message}`;
  }
}
